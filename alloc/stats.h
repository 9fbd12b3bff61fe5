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

#include "alloc/page.h"
#include "halloc.h"

void ha_stats_read(struct hp_memstats *stats);

struct ha_page_stats {
  uint16_t size_class;
  uint64_t
      live; /* blocks in use, those included that were freed and wait in outboxes; 0 if it is no page of blocks */
};

/* Of one page, whoever owns it. False, with live 0, if it was changing each time that it was looked at. */
bool ha_stats_page(const struct ha_page *page, struct ha_page_stats *stats);

#endif
