/* SPDX-License-Identifier: MIT */
/*
 * The kinds of profiles by name: where the rows of each come from.
 */
#ifndef HA_SERVE_KINDS_H
#define HA_SERVE_KINDS_H

#include "proto/encoders.h"

/* Memory for what a kind gathers before its rows are visited; goes with the profile. */
struct ha_kind_memory {
  const struct ha_encoders *encoders;
  struct ha_scratch *scratch;
  bool is_for_text; /* the form that is wanted; has no numbers beside the values */
};

/* Zeroed, or NULL. */
void *ha_kind_alloc(const struct ha_kind_memory *memory, size_t size);

struct ha_kind {
  const char *name;
  /* Fills everything but time, comments and trailer. 0 or -errno. HA_RANK_PROFILE is held. */
  int (*open)(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory);
  bool is_heap; /* estimates from the sample table: rate and exact totals belong into its comments */
  /* The profile was encoded as protobuf; NULL if that need not be known. HA_RANK_PROFILE is held still. */
  void (*complete)(const struct ha_profile *profile);
};

/* NULL: there is none of that name. */
const struct ha_kind *ha_kind_find(const char *name);

/* In the order of the names; NULL beyond the last. */
const struct ha_kind *ha_kind_at(unsigned index);

#endif
