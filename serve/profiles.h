/* SPDX-License-Identifier: MIT */
/*
 * Profiles by name: what joins the rows of a kind, the allocator's exact totals and an encoder.
 */
#ifndef HA_SERVE_PROFILES_H
#define HA_SERVE_PROFILES_H

#include <stddef.h>
#include <stdint.h>

struct ha_kind;
struct ha_scratch;

/* An encoded profile in memory of its own. */
struct ha_profile_file {
  const void *data;
  size_t size;
  struct ha_scratch *scratch;
};

/* 0 and the file, which is to be discarded; or -errno as hp_write_profile. A thread that encodes cannot be cancelled
 * meanwhile. */
int ha_profile_encode(const char *name, int debug, struct ha_profile_file *ret_file);
/* The same for a kind that has no name in the table. */
int ha_profile_encode_kind(const struct ha_kind *kind, int debug, struct ha_profile_file *ret_file);
void ha_profile_discard(struct ha_profile_file *file);

/* All of it, or -errno of write(2). */
int ha_profile_write_file(const struct ha_profile_file *file, int fd);

/* How many rows a profile of the kind has now; 0 if it cannot be opened, or only by disturbing the program. */
uint64_t ha_profile_count(const struct ha_kind *kind);

/* Unix time, in nanoseconds. */
int64_t ha_profile_time(void);

/* hp_write_profile; kept apart so that the library's own callers do not go through the exported name. */
int ha_profile_write(const char *name, int fd, int debug);

#endif
