/* SPDX-License-Identifier: MIT */
/*
 * The profile "since_mark": what was allocated since the last mark and is still in use.
 *
 * It comes from the walk over the live samples alone, since the counters know nothing of marks.
 */
#ifndef HA_SAMPLER_SINCE_MARK_H
#define HA_SAMPLER_SINCE_MARK_H

#include "sampler/ages.h"

/* Fills everything but time and comments. ages: of the mark; must live as long as the profile is read. */
void ha_since_mark_profile(struct ha_profile *profile, const char *name, const struct ha_ages *ages);

#endif
