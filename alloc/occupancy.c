/* SPDX-License-Identifier: MIT */
/*
 * One visit of all descriptors. A page that changes each time that it is looked at is left out.
 */
#include "alloc/occupancy.h"

#include <string.h>

#include "alloc/descriptor.h"
#include "alloc/remote.h"

#define TRIES 4

static void add_page(const struct ha_page *page, void *arg) {
  uint64_t *free_bytes = arg;
  for (int i = 0; i < TRIES; i++) {
    uint32_t version = ha_load_acquire(&page->version);
    uint16_t size_class = ha_load_relaxed(&page->size_class);
    bool is_ours = ha_load_acquire(&page->kind) == HA_PAGE_BLOCKS && size_class < HA_CLASS_COUNT;
    int32_t credit = ha_load_relaxed(&page->credit);
    int64_t carved = ha_load_relaxed(&page->carved);
    int64_t free = (credit > 0 ? credit : 0) + ha_load_relaxed(&page->held) +
                   (int64_t)ha_remote_count(ha_load_relaxed(&page->remote));
    int64_t live = (int64_t)ha_load_relaxed(&page->pending) + ha_load_relaxed(&page->floor) - free;
    if (ha_page_is_unchanged(page, version)) {
      if (is_ours && live > 0 && carved > live) {
        free_bytes[size_class] += (uint64_t)(carved - live) * ha_class_size(size_class);
      }
      return;
    }
  }
}

void ha_occupancy_read(uint64_t free_bytes[HA_CLASS_COUNT]) {
  memset(free_bytes, 0, HA_CLASS_COUNT * sizeof free_bytes[0]);
  ha_descriptor_visit(add_page, free_bytes);
}
