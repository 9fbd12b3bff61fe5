/* SPDX-License-Identifier: MIT */
/*
 * Append-only memory: one fetch-and-add hands out a piece. The first caller reserves the range; when two
 * race, the loser gives its range back.
 */
#include "base/region.h"

#include "base/atomic.h"
#include "base/os.h"

#define SMALLEST_RANGE ((size_t)256 * 1024)
#define PIECE_ALIGNMENT 16

static char *reserve(struct ha_region *region) {
  for (size_t size = region->limit; size >= SMALLEST_RANGE; size /= 2) {
    char *range = ha_os_reserve(size);
    if (range == NULL) {
      continue;
    }
    char *none = NULL;
    /* A racing thread reserves the same size unless memory is that short; the smaller size is then the safe
     * one. */
    size_t known = ha_load_relaxed(&region->size);
    ha_store_relaxed(&region->size, known == 0 || size < known ? size : known);
    if (ha_cas_strong_acq_rel(&region->start, &none, range)) {
      ha_own_mappings_add(&region->own, range, size);
      return range;
    }
    ha_os_unmap(range, size);
    return none;
  }
  return NULL;
}

void *ha_region_alloc(struct ha_region *region, size_t size) {
  char *start = ha_load_acquire(&region->start);
  if (start == NULL && (start = reserve(region)) == NULL) {
    return NULL;
  }
  size = ha_align_up(size, PIECE_ALIGNMENT);
  size_t capacity = ha_load_relaxed(&region->size);
  if (ha_load_relaxed(&region->used) + size > capacity) {
    return NULL;
  }
  size_t offset = ha_add_relaxed(&region->used, size);
  return offset + size <= capacity ? start + offset : NULL;
}

size_t ha_region_used(const struct ha_region *region) {
  size_t used = ha_load_relaxed(&region->used);
  size_t size = ha_load_relaxed(&region->size);
  return used < size ? used : size;
}
