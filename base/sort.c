/* SPDX-License-Identifier: MIT */
/*
 * A heap sort: first every parent is made no less than its two children (items[2i+1] and items[2i+2]), then
 * the largest is moved behind the shrinking heap again and again.
 */
#include "base/sort.h"

static void sift_down(struct ha_sort_item *items, size_t parent, size_t count) {
  struct ha_sort_item item = items[parent];
  for (;;) {
    size_t child = 2 * parent + 1;
    if (child >= count) {
      break;
    }
    if (child + 1 < count && items[child + 1].key > items[child].key) {
      child++;
    }
    if (items[child].key <= item.key) {
      break;
    }
    items[parent] = items[child];
    parent = child;
  }
  items[parent] = item;
}

void ha_sort(struct ha_sort_item *items, size_t count) {
  for (size_t i = count / 2; i > 0; i--) {
    sift_down(items, i - 1, count);
  }
  for (size_t end = count; end > 1; end--) {
    struct ha_sort_item largest = items[0];
    items[0] = items[end - 1];
    items[end - 1] = largest;
    sift_down(items, 0, end - 1);
  }
}
