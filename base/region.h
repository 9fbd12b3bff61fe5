/* SPDX-License-Identifier: MIT */
/*
 * A reserved range that is only ever appended to, without locks: for tables that grow while a sample is taken,
 * where waiting is not allowed. Pieces are zero, aligned to 16 bytes and never freed.
 *
 * The range is reserved at the first use (halving the wish until the kernel agrees) and bounded by it, so what
 * lives in a region has a cap by construction. Only touched OS pages are resident.
 */
#ifndef HA_BASE_REGION_H
#define HA_BASE_REGION_H

#include "base/own_mappings.h"

struct ha_region {
  char *start;  /* set once: NULL, then the range (release; readers acquire) */
  size_t size;  /* written before start is published */
  size_t used;  /* atomic; may exceed size once full */
  size_t limit; /* bytes wished for; constant */
  struct ha_own_mapping own;
};

#define HA_REGION_INIT(limit_bytes)                                                                          \
  { .limit = (limit_bytes) }

/* NULL when the region is full or nothing could be reserved. Wait-free but for the first call. */
void *ha_region_alloc(struct ha_region *region, size_t size);

/* Bytes handed out so far. */
size_t ha_region_used(const struct ha_region *region);

#endif
