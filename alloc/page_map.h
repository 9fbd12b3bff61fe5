/* SPDX-License-Identifier: MIT */
/*
 * From an address to its page, and with that the answer whether an address is ours at all.
 *
 * Two levels over 47 bits of address: one pointer per 2 GiB region (512 KiB, zero until used), one pointer per slice
 * in a region (256 KiB, only where arenas or huge blocks are). Slots are set for every slice of a page of equal
 * blocks, for the first slice of a large block, and for the first and last slice of a free span. All others are
 * NULL, and so are regions we never mapped in: any address may be looked up, at any time, without a lock.
 */
#ifndef HA_ALLOC_PAGE_MAP_H
#define HA_ALLOC_PAGE_MAP_H

#include "alloc/page.h"

#define HA_ADDRESS_BITS 47
#define HA_REGION_SHIFT 31
#define HA_REGION_COUNT ((size_t)1 << (HA_ADDRESS_BITS - HA_REGION_SHIFT))

/* Address of slot 0 as if the region's slots began at address 0, so that a slot is found without masking.
 * Written under HA_RANK_ARENA; read by all. */
extern uintptr_t ha_page_map[HA_REGION_COUNT];

HA_INLINE struct ha_page **ha_page_map_slot(uintptr_t slots, uintptr_t address) {
  return (struct ha_page **)(slots + (address >> HA_SLICE_SHIFT) * sizeof(struct ha_page *));
}

/* The page at an address; NULL if the address is not ours or inside a large block. About eight instructions.
 */
HA_INLINE struct ha_page *ha_page_of(const void *pointer) {
  uintptr_t address = (uintptr_t)pointer;
  uintptr_t region = address >> HA_REGION_SHIFT;
  if (ha_unlikely(region >= HA_REGION_COUNT)) {
    return NULL;
  }
  uintptr_t slots = ha_load_relaxed(&ha_page_map[region]);
  if (ha_unlikely(slots == 0)) {
    return NULL;
  }
  return ha_load_relaxed(ha_page_map_slot(slots, address));
}

/* Makes the range's slots usable. False if there is no memory for them. HA_RANK_ARENA held. */
bool ha_page_map_cover(const void *start, size_t size);

/* Sets the slots of `slices` slices from start (inside a covered range). HA_RANK_ARENA held. */
void ha_page_map_set(const void *start, size_t slices, struct ha_page *page);

#endif
