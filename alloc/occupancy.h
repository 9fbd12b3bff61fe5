/* SPDX-License-Identifier: MIT */
/*
 * How full the pages of each size class are: the memory that is free, but held by pages with blocks in use.
 *
 * Counted exactly, page by page, from the descriptors, without a lock: free blocks that were cut and whose memory was
 * not given back. A page without blocks in use holds nothing that would keep it from being used otherwise, and is left
 * out. Blocks that wait in an outbox count as in use.
 */
#ifndef HA_ALLOC_OCCUPANCY_H
#define HA_ALLOC_OCCUPANCY_H

#include "alloc/size_class.h"

/* Free bytes of each class. */
void ha_occupancy_read(uint64_t free_bytes[HA_CLASS_COUNT]);

#endif
