/* SPDX-License-Identifier: MIT */
/*
 * Statistics: Go's MemStats summed up from what the allocator counts anyway.
 *
 * Blocks allocated per class = sum over heaps of (granted - credit of the current page); blocks in use per class =
 * sum over pages of (pending - credit - held - remote). Both are kept by the paths that need them, so statistics
 * cost the allocator nothing and a reader stops no one.
 */
#ifndef HA_ALLOC_STATS_H
#define HA_ALLOC_STATS_H

#include "halloc.h"

void ha_stats_read(struct hp_memstats *stats);

#endif
