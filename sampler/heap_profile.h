/* SPDX-License-Identifier: MIT */
/*
 * The heap profile: the sample table as rows of Go's four values.
 *
 * "heap" and "allocs" are the same rows; they differ in the type that tools show first, as in Go.
 */
#ifndef HA_SAMPLER_HEAP_PROFILE_H
#define HA_SAMPLER_HEAP_PROFILE_H

#include "sampler/ages.h"

/* Fills everything but time, comments and trailer. name is "heap" or "allocs". ages: NULL, or what is in use comes in
 * a row for each age, beside the row of what was allocated. */
void ha_heap_profile(struct ha_profile *profile, const char *name, const struct ha_ages *ages);

/* Sums over all rows. */
struct ha_heap_totals {
  int64_t values[HA_ROW_VALUES_MAX];
  int64_t sampled[HA_ROW_VALUES_MAX];
  double variances[HA_ROW_VALUES_MAX]; /* of values; the root is one standard error */
  uint64_t overflow_samples;           /* samples on the overflow entry */
};
struct ha_heap_totals ha_heap_totals(void);

#endif
