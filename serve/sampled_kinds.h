/* SPDX-License-Identifier: MIT */
/*
 * The kinds of profiles that are made from samples. What they gather is in memory of the profile; comments tell what
 * a reader needs to judge it.
 */
#ifndef HA_SERVE_SAMPLED_KINDS_H
#define HA_SERVE_SAMPLED_KINDS_H

#include "serve/kinds.h"

typedef int ha_kind_open_fn(struct ha_profile *profile, const char *name,
                            const struct ha_kind_memory *memory);

/* "heap" and "allocs". Without memory for the ages they come without. */
ha_kind_open_fn ha_kind_open_heap;

ha_kind_open_fn ha_kind_open_since_mark, ha_kind_open_peak, ha_kind_open_lifetimes,
    ha_kind_open_fragmentation, ha_kind_open_delta;

/* Of "delta_heap": the profile is complete. */
void ha_kind_complete_delta(const struct ha_profile *profile);

#endif
