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
#include "alloc/limit.h"
#include "alloc/own_thread.h"
#include "alloc/release.h"
#include "alloc/remote.h"
#include "alloc/resident.h"
#include "base/meta.h"
#include "base/os.h"
#include "base/process.h"
#include "sampler/table.h"

/* What is added up per class. A class is torn if something of it was changing each time that it was looked at. */
struct block_sums {
  uint64_t mallocs[HA_CLASS_COUNT];
  uint64_t live[HA_CLASS_COUNT];    /* by the pages' count */
  uint64_t waiting[HA_CLASS_COUNT]; /* of those: freed, but not yet known to their pages */
  bool is_torn[HA_CLASS_COUNT];
};

#define TRIES 4

static uint64_t positive(int64_t value) {
  return value > 0 ? (uint64_t)value : 0;
}

/* The credit of a page that may be in the middle of its owner's fast path. */
static int64_t credit_of(const struct ha_page *page) {
  int32_t credit = ha_load_relaxed(&page->credit);
  return credit > 0 ? credit : 0;
}

/* Credit before pending: a malloc in between then does not pass for a free. */
bool ha_stats_page(const struct ha_page *page, struct ha_page_stats *stats) {
  for (int i = 0; i < TRIES; i++) {
    uint32_t version = ha_load_acquire(&page->version);
    stats->size_class = ha_load_relaxed(&page->size_class);
    bool is_ours = ha_load_acquire(&page->kind) == HA_PAGE_BLOCKS && stats->size_class < HA_CLASS_COUNT;
    int64_t not_in_use = credit_of(page) + ha_load_relaxed(&page->held);
    not_in_use += ha_remote_count(ha_load_relaxed(&page->remote));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    int64_t live = (int64_t)ha_load_relaxed(&page->pending) + ha_load_relaxed(&page->floor) - not_in_use;
    if (ha_page_is_unchanged(page, version)) {
      stats->live = is_ours ? positive(live) : 0;
      return true;
    }
  }
  stats->live = 0;
  return false;
}

static void add_page(const struct ha_page *page, void *arg) {
  struct block_sums *sums = arg;
  struct ha_page_stats stats;
  bool is_whole = ha_stats_page(page, &stats);
  sums->live[stats.size_class % HA_CLASS_COUNT] += stats.live;
  sums->is_torn[stats.size_class % HA_CLASS_COUNT] |= !is_whole;
}

static void add_class(const struct ha_heap *heap, unsigned size_class, struct block_sums *sums) {
  for (int i = 0; i < TRIES; i++) {
    const struct ha_page *page = ha_load_acquire(&heap->current[size_class]);
    uint32_t version = ha_load_acquire(&page->version);
    int64_t granted = (int64_t)ha_load_relaxed(&heap->granted[size_class]);
    int64_t credit = page != &ha_empty_page ? credit_of(page) : 0;
    if (ha_page_is_unchanged(page, version) && ha_load_relaxed(&heap->current[size_class]) == page &&
        (int64_t)ha_load_relaxed(&heap->granted[size_class]) == granted) {
      sums->mallocs[size_class] += positive(granted - credit);
      return;
    }
  }
  sums->is_torn[size_class] = true;
}

/* The highest value that any reading has given, per class; atomic. Heaps and pages are looked at one after the other
 * while threads go on, so a sum may fall short of an earlier one by what moved meanwhile, but it is never too high:
 * mallocs are read before what is in use, and that before what waits to be freed. */
static struct {
  uint64_t mallocs[HA_CLASS_COUNT];
  uint64_t frees[HA_CLASS_COUNT];
} highest;

static void raise(uint64_t *mark, uint64_t value) {
  uint64_t known = ha_load_relaxed(mark);
  while (known < value && !ha_cas_weak_acq_rel(mark, &known, value)) {
  }
}

static void read_blocks(struct block_sums *sums) {
  for (const struct ha_heap *heap = ha_heap_first(); heap != NULL; heap = heap->next) {
    for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
      add_class(heap, size_class, sums);
    }
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  ha_descriptor_visit(add_page, sums);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  for (const struct ha_heap *heap = ha_heap_first(); heap != NULL; heap = heap->next) {
    ha_outbox_count(&heap->outbox, sums->waiting);
  }
}

static void sum_blocks(struct hp_memstats *stats) {
  struct block_sums sums = {0};
  bool is_starting = ha_own_thread_is_starting();
  read_blocks(&sums);
  is_starting = is_starting || ha_own_thread_is_starting();
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    if (!sums.is_torn[size_class] && !is_starting) {
      uint64_t own = ha_own_thread_blocks(size_class);
      sums.mallocs[size_class] -= own;
      uint64_t live = positive((int64_t)(sums.live[size_class] - sums.waiting[size_class] - own));
      /* Mallocs first here and last below: who sees frees sees the mallocs that came with them. */
      raise(&highest.mallocs[size_class], sums.mallocs[size_class]);
      raise(&highest.frees[size_class], positive((int64_t)(sums.mallocs[size_class] - live)));
    }
    uint64_t size = ha_class_size(size_class);
    uint64_t frees = ha_load_acquire(&highest.frees[size_class]);
    uint64_t mallocs = ha_load_acquire(&highest.mallocs[size_class]);
    stats->BySize[size_class].Size = (uint32_t)size;
    stats->BySize[size_class].Mallocs = mallocs;
    stats->BySize[size_class].Frees = frees;
    stats->Mallocs += mallocs;
    stats->Frees += frees;
    stats->TotalAlloc += mallocs * size;
    stats->HeapAlloc += (mallocs - frees) * size;
  }
}

static uint64_t at_most(uint64_t value, uint64_t limit) {
  return value < limit ? value : limit;
}

static uint64_t at_least(uint64_t value, uint64_t limit) {
  return value > limit ? value : limit;
}

/* Memory that nothing is in is idle, also inside pages that hold blocks elsewhere: what was not carved yet. */
static void sum_spans(struct hp_memstats *stats, const struct ha_large_totals *large) {
  struct ha_arena_totals arenas = ha_arena_totals();
  uint64_t arena_bytes = arenas.slices * HA_SLICE;
  uint64_t resident = ha_resident_pages() * HA_OS_PAGE;
  uint64_t in_use = resident - at_most(arenas.free_resident * HA_OS_PAGE, resident) + large->huge_bytes;
  stats->HeapSys = at_least(arena_bytes + large->huge_bytes, stats->HeapAlloc);
  stats->HeapInuse = at_most(at_least(in_use, stats->HeapAlloc), stats->HeapSys);
  stats->HeapIdle = stats->HeapSys - stats->HeapInuse;
  stats->HeapReleased = at_most(arena_bytes - at_most(resident, arena_bytes), stats->HeapIdle);
}

static void sum_own(struct hp_memstats *stats) {
  stats->MSpanSys = ha_meta_bytes(HA_META_SPANS);
  stats->MSpanInuse = stats->MSpanSys;
  stats->MCacheSys = ha_meta_bytes(HA_META_HEAPS);
  stats->BuckHashSys = ha_meta_bytes(HA_META_PROFILE) + ha_table_bytes();
  stats->OtherSys = ha_meta_unused_bytes();
  stats->Sys = stats->HeapSys + stats->MSpanSys + stats->MCacheSys + stats->BuckHashSys + stats->OtherSys;
  stats->Threads = ha_heap_thread_count();
  stats->MCacheInuse = at_most(stats->Threads * sizeof(struct ha_heap), stats->MCacheSys);
}

static void ask_kernel(struct hp_memstats *stats) {
  struct ha_process_faults faults = ha_process_faults();
  stats->RSS = ha_process_rss();
  stats->MinorFaults = faults.minor;
  stats->MajorFaults = faults.major;
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
  sum_spans(stats, &large);
  stats->Alloc = stats->HeapAlloc;
  sum_own(stats);
  ask_kernel(stats);
  struct ha_release_totals released = ha_release_totals();
  stats->ReleasedTotal = released.bytes;
  stats->ReleaseCPUNanos = released.nanos;
  stats->MemoryLimit = (uint64_t)ha_load_relaxed(&ha_limit_bytes);
  stats->MemoryLimitExceeded = ha_limit_exceeded_count();
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
