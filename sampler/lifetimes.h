/* SPDX-License-Identifier: MIT */
/*
 * How long freed samples had lived: counters for each entry and span of time.
 *
 * They are made when the first sample of an entry is freed, in the region of the sampler's tables: 48 bytes, or 96
 * where sizes differ. Without room the frees of an entry are not told apart. Costs a free one clock and one add.
 */
#ifndef HA_SAMPLER_LIFETIMES_H
#define HA_SAMPLER_LIFETIMES_H

#include "sampler/rows.h"
#include "sampler/table.h"

#define HA_LIFETIMES 6

/* A sample of the entry is freed after so many ticks. */
void ha_lifetimes_count(struct ha_entry *entry, uint32_t ticks, uint64_t weight, size_t block_size);

/* The profile "lifetimes": freed objects and bytes, a row for each entry and span. Fills everything but time and
 * comments. */
void ha_lifetimes_profile(struct ha_profile *profile, const char *name);

#endif
