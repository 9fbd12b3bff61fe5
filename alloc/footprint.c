/* SPDX-License-Identifier: MIT */
/*
 * One pass over the descriptors. A descriptor that is given away meanwhile shows the range of its next life, which is
 * why nothing is trusted but its kind, and a range that is not mapped has no memory.
 */
#include "alloc/footprint.h"

#include <string.h>

#include "alloc/arena.h"
#include "alloc/descriptor.h"
#include "alloc/heap_pool.h"
#include "alloc/resident.h"
#include "alloc/stats.h"
#include "base/os.h"
#include "sampler/interval.h"

struct reading {
  struct ha_footprint *footprint;
  ha_footprint_large_fn *large;
  void *arg;
};

static uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

/* Where the kernel does not tell, what we know ourselves. */
static uint64_t resident_bytes(const struct ha_page *page, const char *start, size_t size) {
  size_t pages;
  if (!ha_os_count_resident(start, size, &pages)) {
    bool is_huge = ha_load_relaxed(&page->kind) == HA_PAGE_HUGE;
    pages = is_huge ? size / HA_OS_PAGE : ha_resident_count(ha_load_relaxed(&page->arena), start, size);
  }
  return pages * HA_OS_PAGE;
}

static void add_blocks(const struct ha_page *page, struct ha_footprint *footprint) {
  struct ha_page_stats stats;
  ha_stats_page(page, &stats);
  uint64_t resident = resident_bytes(page, page->start, ha_load_relaxed(&page->slices) * HA_SLICE);
  uint64_t live = stats.live * ha_load_relaxed(&page->block_size);
  footprint->blocks += live;
  footprint->live[ha_footprint_class(ha_load_relaxed(&page->block_size))] += least(live, resident);
  footprint->free_in_pages += resident - least(live, resident);
}

static void add_large(const struct ha_page *page, const struct reading *reading) {
  struct ha_footprint *footprint = reading->footprint;
  uint64_t size = ha_load_relaxed(&page->block_size);
  uint64_t behind = ha_load_relaxed(&page->slices) * HA_SLICE - size;
  uint64_t resident = resident_bytes(page, page->start, size);
  footprint->blocks += size;
  footprint->live[ha_footprint_class(size)] += resident;
  if (ha_load_relaxed(&page->kind) == HA_PAGE_LARGE && behind < HA_SLICE) {
    footprint->free_in_pages += resident_bytes(page, page->start + size, behind);
  }
  const struct ha_entry *entry = ha_load_acquire(&page->sample.entry);
  if (page->is_sampled && entry != NULL) {
    reading->large(entry, (double)page->sample.weight / (double)HA_WEIGHT_ONE, size, resident, reading->arg);
  }
}

static void add_page(const struct ha_page *page, void *arg) {
  const struct reading *reading = arg;
  switch (ha_load_acquire(&page->kind)) {
  case HA_PAGE_BLOCKS:
    add_blocks(page, reading->footprint);
    break;
  case HA_PAGE_LARGE:
  case HA_PAGE_HUGE:
    add_large(page, reading);
    break;
  case HA_PAGE_FREE:
    reading->footprint->idle += resident_bytes(page, page->start, ha_load_relaxed(&page->slices) * HA_SLICE);
    break;
  default:
    break;
  }
}

/* Blocks in outboxes are freed, though their pages do not know it yet. */
static void subtract_waiting(struct ha_footprint *footprint) {
  uint64_t waiting[HA_CLASS_COUNT] = {0};
  for (const struct ha_heap *heap = ha_heap_first(); heap != NULL; heap = heap->next) {
    ha_outbox_count(&heap->outbox, waiting);
  }
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    uint64_t bytes = least(waiting[size_class] * ha_class_size(size_class), footprint->live[size_class]);
    footprint->blocks -= least(bytes, footprint->blocks);
    footprint->live[size_class] -= bytes;
    footprint->free_in_pages += bytes;
  }
}

void ha_footprint_read(struct ha_footprint *footprint, ha_footprint_large_fn *large, void *arg) {
  memset(footprint, 0, sizeof *footprint);
  struct reading reading = {footprint, large, arg};
  ha_descriptor_visit(add_page, &reading);
  subtract_waiting(footprint);
  for (unsigned size_class = 0; size_class < HA_FOOTPRINT_CLASSES; size_class++) {
    footprint->live_total += footprint->live[size_class];
  }
}

struct ranges {
  void (*visit)(const char *start, size_t size, void *arg);
  void *arg;
};

static void visit_huge(const struct ha_page *page, void *arg) {
  const struct ranges *ranges = arg;
  if (ha_load_acquire(&page->kind) == HA_PAGE_HUGE) {
    ranges->visit(page->start, ha_load_relaxed(&page->block_size), ranges->arg);
  }
}

void ha_footprint_ranges(void (*visit)(const char *start, size_t size, void *arg), void *arg) {
  struct ranges ranges = {visit, arg};
  ha_arena_visit(visit, arg);
  ha_descriptor_visit(visit_huge, &ranges);
}

void ha_footprint_threads(void (*visit)(const void *thread, void *arg), void *arg) {
  for (const struct ha_heap *heap = ha_heap_first(); heap != NULL; heap = heap->next) {
    const void *thread = ha_load_relaxed(&heap->thread);
    if (thread != NULL) {
      visit(thread, arg);
    }
  }
}
