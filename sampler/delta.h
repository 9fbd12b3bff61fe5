/* SPDX-License-Identifier: MIT */
/*
 * The profile "delta_heap": what was allocated since the last one, and what is in use now, as in Pyroscope's
 * godeltaprof.
 *
 * What was reported is kept in the entries. It moves on when a profile is complete (ha_delta_commit), not before, so
 * that one that could not be encoded is made up for by the next.
 */
#ifndef HA_SAMPLER_DELTA_H
#define HA_SAMPLER_DELTA_H

#include "base/array.h"
#include "sampler/rows.h"

struct ha_delta {
  struct ha_array sites;
  uint64_t nanos; /* when it was gathered, monotonic */
};

/* False without memory. HA_RANK_PROFILE is held here and up to the commit. */
bool ha_delta_gather(struct ha_delta *delta, struct ha_memory memory);

/* Fills everything but time and comments. delta must live as long as the profile is read. */
void ha_delta_profile(struct ha_profile *profile, const char *name, const struct ha_delta *delta);

/* The profile is complete: what it reports is reported. */
void ha_delta_commit(const struct ha_delta *delta);

#endif
