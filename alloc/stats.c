/* SPDX-License-Identifier: MIT */
/*
 * Each field next to its sum. Everything is read with relaxed loads of aligned words; at rest the sums are
 * exact.
 */
#include "alloc/stats.h"

#include <errno.h>
#include <string.h>

#include "alloc/arena.h"
#include "alloc/descriptor.h"
#include "alloc/heap_pool.h"
#include "alloc/large.h"
#include "alloc/remote.h"
#include "base/meta.h"
#include "sampler/table.h"

struct page_sums {
  uint64_t live[HA_CLASS_COUNT]; /* blocks in use per class */
};

static uint64_t positive(int64_t value) {
  return value > 0 ? (uint64_t)value : 0;
}

/* The credit of a page that may be in the middle of its owner's fast path. */
static int64_t credit_of(const struct ha_page *page) {
  int32_t credit = ha_load_relaxed(&page->credit);
  return credit > 0 ? credit : 0;
}

static void add_page(const struct ha_page *page, void *arg) {
  struct page_sums *sums = arg;
  /* Read once: the descriptor may come to serve a large block at any moment. */
  uint16_t size_class = ha_load_relaxed(&page->size_class);
  if (ha_load_acquire(&page->kind) != HA_PAGE_BLOCKS || size_class >= HA_CLASS_COUNT) {
    return;
  }
  int64_t live = (int64_t)ha_load_relaxed(&page->pending) - credit_of(page) - ha_load_relaxed(&page->held) -
                 ha_remote_count(ha_load_relaxed(&page->remote));
  sums->live[size_class] += positive(live);
}

static void add_heap(const struct ha_heap *heap, uint64_t *mallocs) {
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    const struct ha_page *page = ha_load_relaxed(&heap->current[size_class]);
    int64_t granted = (int64_t)ha_load_relaxed(&heap->granted[size_class]);
    mallocs[size_class] += positive(granted - (page != &ha_empty_page ? credit_of(page) : 0));
  }
}

static void sum_blocks(struct hp_memstats *stats) {
  struct page_sums sums = {{0}};
  uint64_t mallocs[HA_CLASS_COUNT] = {0};
  uint64_t waiting[HA_CLASS_COUNT] = {0}; /* freed, not yet known to their pages */
  ha_descriptor_visit(add_page, &sums);
  for (const struct ha_heap *heap = ha_heap_first(); heap != NULL; heap = heap->next) {
    add_heap(heap, mallocs);
    ha_outbox_count(&heap->outbox, waiting);
  }
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    uint64_t size = ha_class_size(size_class);
    uint64_t live = positive((int64_t)(sums.live[size_class] - waiting[size_class]));
    live = live < mallocs[size_class] ? live : mallocs[size_class];
    stats->BySize[size_class].Size = (uint32_t)size;
    stats->BySize[size_class].Mallocs = mallocs[size_class];
    stats->BySize[size_class].Frees = mallocs[size_class] - live;
    stats->Mallocs += mallocs[size_class];
    stats->Frees += mallocs[size_class] - live;
    stats->TotalAlloc += mallocs[size_class] * size;
    stats->HeapAlloc += live * size;
  }
}

static void sum_spans(struct hp_memstats *stats, const struct ha_large_totals *large) {
  struct ha_arena_totals arenas = ha_arena_totals();
  stats->HeapSys = arenas.slices * HA_SLICE + large->huge_bytes;
  stats->HeapIdle = arenas.free_slices * HA_SLICE;
  stats->HeapInuse = stats->HeapSys - stats->HeapIdle;
  uint64_t fresh = arenas.fresh_free_slices * HA_SLICE;
  stats->HeapReleased = fresh < stats->HeapIdle ? fresh : stats->HeapIdle;
}

void ha_stats_read(struct hp_memstats *stats) {
  memset(stats, 0, sizeof *stats);
  struct ha_large_totals large = ha_large_totals();
  sum_blocks(stats);
  stats->Mallocs += large.mallocs;
  stats->Frees += large.frees;
  stats->TotalAlloc += large.alloc_bytes;
  stats->HeapAlloc += large.alloc_bytes - large.free_bytes;
  stats->HeapObjects = stats->Mallocs - stats->Frees;
  stats->Alloc = stats->HeapAlloc;
  sum_spans(stats, &large);
  stats->MSpanSys = ha_meta_bytes(HA_META_SPANS);
  stats->MCacheSys = ha_meta_bytes(HA_META_HEAPS);
  stats->BuckHashSys = ha_meta_bytes(HA_META_PROFILE) + ha_table_bytes();
  stats->OtherSys = ha_meta_unused_bytes();
  stats->Sys = stats->HeapSys + stats->MSpanSys + stats->MCacheSys + stats->BuckHashSys + stats->OtherSys;
  stats->Threads = ha_heap_thread_count();
}

HA_EXPORT int hp_memstats_read(struct hp_memstats *out, size_t size) {
  if (out == NULL || size == 0) {
    return -EINVAL;
  }
  struct hp_memstats stats;
  ha_stats_read(&stats);
  /* A caller compiled against a longer struct gets zeros for what this version does not know. */
  memset(out, 0, size);
  memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
  return 0;
}
