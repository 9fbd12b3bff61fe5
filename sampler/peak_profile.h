/* SPDX-License-Identifier: MIT */
/*
 * The profile "peak": what was in use when the live heap was at its highest.
 */
#ifndef HA_SAMPLER_PEAK_PROFILE_H
#define HA_SAMPLER_PEAK_PROFILE_H

#include "base/array.h"
#include "sampler/peak.h"

struct ha_peak_rows {
  struct ha_array sites;
  struct ha_peak peak;
};

/* Copies what the entries had at the peak; holds it meanwhile. False without memory. */
bool ha_peak_gather(struct ha_peak_rows *rows, struct ha_memory memory);

/* Fills everything but time and comments. rows must live as long as the profile is read. */
void ha_peak_profile(struct ha_profile *profile, const char *name, const struct ha_peak_rows *rows);

#endif
