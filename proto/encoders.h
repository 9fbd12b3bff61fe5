/* SPDX-License-Identifier: MIT */
/*
 * The encoders as one table, so that they can live in a library of their own.
 *
 * Writing a profile needs protobuf-c, zlib and mimalloc's heaps; a process that never writes one shall not
 * load them. They are in libhalloc-pprof.so, whose only exported symbol is this table.
 */
#ifndef HA_PROTO_ENCODERS_H
#define HA_PROTO_ENCODERS_H

#include "proto/blob.h"
#include "sampler/rows.h"

/* Raised when the table or what it passes changes: both libraries must be of one version. */
#define HA_ENCODERS_VERSION 9

typedef int ha_encode_fn(const struct ha_profile *profile, struct ha_scratch *scratch,
                         struct ha_blob *ret_blob);

struct ha_encoders {
  uint32_t version;
  struct ha_scratch *(*scratch_new)(void);
  void *(*scratch_alloc)(struct ha_scratch *scratch, size_t size);
  void (*scratch_destroy)(struct ha_scratch *scratch);
  ha_encode_fn *proto; /* gzip-compressed profile.proto */
  ha_encode_fn *text;  /* as text, in the profile's form */
  ha_encode_fn *sites; /* the largest live sites, as a part of a line; no NUL */
  /* ha_addresses_name */
  int (*name)(struct ha_scratch *scratch, const uintptr_t *addresses, uint32_t count, const char **names);
};

extern const struct ha_encoders ha_encoders;

#endif
