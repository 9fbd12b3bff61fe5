/* SPDX-License-Identifier: MIT */
/*
 * Growth and writing of the page map.
 */
#include "alloc/page_map.h"

#include "base/lock.h"
#include "base/meta.h"

#define SLOTS_PER_REGION ((size_t)1 << (HA_REGION_SHIFT - HA_SLICE_SHIFT))
#define REGION_BYTES (SLOTS_PER_REGION * sizeof(struct ha_page *))

uintptr_t ha_page_map[HA_REGION_COUNT];

bool ha_page_map_cover(const void *start, size_t size) {
  ha_lock_assert_held(HA_RANK_ARENA);
  uintptr_t first = (uintptr_t)start >> HA_REGION_SHIFT;
  uintptr_t last = ((uintptr_t)start + size - 1) >> HA_REGION_SHIFT;
  for (uintptr_t region = first; region <= last; region++) {
    if (region >= HA_REGION_COUNT) {
      return false;
    }
    if (ha_page_map[region] != 0) {
      continue;
    }
    uintptr_t slots = (uintptr_t)ha_meta_alloc(REGION_BYTES, HA_META_SPANS);
    if (slots == 0) {
      return false;
    }
    /* Release: the zeroed slots are there before anyone follows the pointer. */
    ha_store_release(&ha_page_map[region], slots - region * REGION_BYTES);
  }
  return true;
}

void ha_page_map_set(const void *start, size_t slices, struct ha_page *page) {
  ha_lock_assert_held(HA_RANK_ARENA);
  uintptr_t address = (uintptr_t)start;
  for (size_t i = 0; i < slices; i++, address += HA_SLICE) {
    ha_store_release(ha_page_map_slot(ha_page_map[address >> HA_REGION_SHIFT], address), page);
  }
}
