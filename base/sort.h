/* SPDX-License-Identifier: MIT */
/*
 * Sorting in place by an integer key, in ascending order. Not stable.
 *
 * The C library's qsort() calls malloc for large arrays. Takes n log n steps at worst and no memory.
 */
#ifndef HA_BASE_SORT_H
#define HA_BASE_SORT_H

#include <stddef.h>
#include <stdint.h>

struct ha_sort_item {
  uint64_t key;
  uint32_t index; /* whatever the key belongs to */
};

void ha_sort(struct ha_sort_item *items, size_t count);

#endif
