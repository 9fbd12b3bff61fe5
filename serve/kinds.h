/* SPDX-License-Identifier: MIT */
/*
 * The kinds of profiles by name: where the rows of each come from.
 */
#ifndef HA_SERVE_KINDS_H
#define HA_SERVE_KINDS_H

#include "base/compiler.h"
#include "proto/encoders.h"

/* Memory for what a kind prepares before its rows are visited; goes with the profile. */
struct ha_kind_memory {
  const struct ha_encoders *encoders;
  struct ha_scratch *scratch;
  bool is_for_text; /* the form that is wanted; has no numbers beside the values */
  void *gathered;   /* by the kind's gather, or NULL */
};

/* Zeroed, or NULL. */
void *ha_kind_alloc(const struct ha_kind_memory *memory, size_t size);

/* Adds a line to the profile's comments, for kinds but the heap's; without memory it is left out. */
void ha_kind_comment(struct ha_profile *profile, const struct ha_kind_memory *memory, const char *format, ...)
    HA_PRINTF(3, 4);

/* Fills everything but time and trailer; comments only if they are the kind's own. 0 or -errno.
 * HA_RANK_PROFILE is held. */
typedef int ha_kind_open_fn(struct ha_profile *profile, const char *name,
                            const struct ha_kind_memory *memory);

struct ha_kind {
  const char *name;
  ha_kind_open_fn *open;
  ha_kind_open_fn *open_dump; /* for debug 2, where that differs from 1; or NULL */
  /* What takes time and must not hold up a fork: before the lock is taken. Both or none. */
  void *(*gather)(void);
  void (*release)(void *gathered);
  bool is_heap; /* estimates from the sample table: rate and exact totals belong into its comments */
  /* The profile was encoded as protobuf; NULL if that need not be known. HA_RANK_PROFILE is held still. */
  void (*complete)(const struct ha_profile *profile);
};

/* NULL: there is none of that name. */
const struct ha_kind *ha_kind_find(const char *name);

/* In the order of the names; NULL beyond the last. */
const struct ha_kind *ha_kind_at(unsigned index);

#endif
