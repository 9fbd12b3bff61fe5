/* SPDX-License-Identifier: MIT */
/*
 * Allocation, resizing and freeing of large blocks.
 */
#include "alloc/large.h"

#include <errno.h>

#include "alloc/arena.h"
#include "alloc/descriptor.h"
#include "alloc/limit.h"
#include "alloc/page_map.h"
#include "alloc/release.h"
#include "alloc/resident.h"
#include "alloc/size_class.h"
#include "alloc/thread.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/os.h"
#include "sampler/interval.h"
#include "sampler/probe.h"
#include "sampler/sample.h"

static struct ha_large_totals totals; /* HA_RANK_ARENA; read without */

static size_t slices_of(size_t size) {
  return (size + HA_SLICE - 1) >> HA_SLICE_SHIFT;
}

static bool is_huge(size_t block_size) {
  return block_size > HA_HUGE_MIN;
}

/* The site to record the block under, or NULL if it is not sampled. */
static struct ha_entry *decide(size_t block_size, int64_t *rate) {
  struct ha_heap *heap = ha_thread_heap_or_new();
  struct ha_random homeless;
  struct ha_random *random = &homeless;
  if (heap != NULL) {
    random = &heap->random;
  } else {
    ha_random_seed(random, ha_random_fresh_seed());
  }
  *rate = ha_rate();
  return ha_interval_hits(random, block_size, *rate) ? ha_sample_site(ha_class_of(block_size), 0) : NULL;
}

static void record(struct ha_page *page, struct ha_entry *entry, size_t requested, int64_t rate) {
  if (entry != NULL) {
    ha_sample_record(&page->sample, entry, page->block_size, requested, rate);
    /* Last: whoever sees it can read the record, also in a child that is forked right now. */
    ha_store_release(&page->is_sampled, true);
    ha_probe_alloc(page->start, page->block_size, page->sample.weight);
  }
}

/* Readers of the record are told that it goes: its place is soon that of list links. */
static void retire(struct ha_page *page) {
  if (page->is_sampled) {
    ha_sample_retire(&page->sample, page->start, page->block_size);
    ha_page_begin_change(page);
    ha_store_release(&page->is_sampled, false);
    ha_page_end_change(page);
  }
}

static void count_alloc_locked(const struct ha_page *page) {
  ha_owner_add(&totals.mallocs, 1);
  ha_owner_add(&totals.alloc_bytes, page->block_size);
  ha_owner_add(&totals.huge_bytes, page->kind == HA_PAGE_HUGE ? page->block_size : 0);
}

static void count_free_locked(const struct ha_page *page) {
  ha_owner_add(&totals.frees, 1);
  ha_owner_add(&totals.free_bytes, page->block_size);
  ha_owner_add(&totals.huge_bytes, page->kind == HA_PAGE_HUGE ? -(uint64_t)page->block_size : 0);
}

static void init_page(struct ha_page *page, size_t block_size, enum ha_page_kind kind) {
  page->block_size = block_size;
  page->size_class = (uint16_t)ha_class_of(block_size);
  page->is_sampled = false;
  page->is_zero = page->is_fresh;
  ha_store_release(&page->kind, kind);
  count_alloc_locked(page);
}

/* *ret_again: a span was missing that may serve. */
static struct ha_page *try_span(size_t block_size, size_t alignment, bool may_grow, bool *ret_again) {
  ha_lock(HA_RANK_ARENA);
  size_t slices = slices_of(block_size);
  struct ha_page *page =
      may_grow ? ha_span_alloc_locked(slices, alignment) : ha_span_reuse_locked(slices, alignment);
  if (page != NULL) {
    init_page(page, block_size, HA_PAGE_LARGE);
    ha_resident_set(page->arena, page->start, block_size);
  }
  *ret_again = page == NULL && ha_span_is_withdrawn_locked();
  ha_unlock(HA_RANK_ARENA);
  return page;
}

static struct ha_page *alloc_span(size_t block_size, size_t alignment, bool may_grow) {
  bool again;
  struct ha_page *page = try_span(block_size, alignment, may_grow, &again);
  if (ha_unlikely(again)) {
    ha_lock(HA_RANK_RELEASE);
    page = try_span(block_size, alignment, may_grow, &again);
    ha_unlock(HA_RANK_RELEASE);
  }
  return page;
}

static struct ha_page *alloc_huge(size_t block_size, size_t alignment) {
  char *start = ha_os_map_aligned(block_size, alignment);
  if (start == NULL) {
    return NULL;
  }
  ha_lock(HA_RANK_ARENA);
  struct ha_page *page = ha_page_map_cover(start, block_size) ? ha_descriptor_alloc_locked() : NULL;
  if (page != NULL) {
    page->start = start;
    page->slices = (uint32_t)slices_of(block_size);
    page->is_fresh = true;
    init_page(page, block_size, HA_PAGE_HUGE);
    ha_page_map_set(start, 1, page);
  }
  ha_unlock(HA_RANK_ARENA);
  if (page == NULL) {
    ha_os_unmap(start, block_size);
  }
  return page;
}

void *ha_large_alloc(size_t size, size_t alignment) {
  if (size > PTRDIFF_MAX - HA_OS_PAGE || alignment > PTRDIFF_MAX - size) {
    return NULL;
  }
  size_t block_size = ha_align_up(size != 0 ? size : 1, HA_OS_PAGE);
  alignment = alignment < HA_SLICE ? HA_SLICE : alignment;
  if (ha_limit_refuses(block_size) &&
      (!ha_limit_collect(ha_heap_of_thread()) || ha_limit_refuses(block_size))) {
    return NULL;
  }
  int64_t rate;
  struct ha_entry *entry = decide(block_size, &rate);
  bool huge = is_huge(block_size);
  struct ha_page *page = huge ? alloc_huge(block_size, alignment) : NULL;
  if (page == NULL) {
    /* Also huge blocks when the kernel maps no more, if an arena has the room. */
    page = alloc_span(block_size, alignment, !huge);
  }
  if (page == NULL) {
    return NULL;
  }
  record(page, entry, size, rate);
  if (ha_limit_is_exceeded()) {
    ha_limit_make_room(ha_heap_of_thread());
  }
  return page->start;
}

void ha_large_free(struct ha_page *page, void *block) {
  if (block != page->start) {
    ha_die("free(%p): not the start of a block", block);
  }
  retire(page);
  size_t block_size = page->block_size;
  ha_lock(HA_RANK_ARENA);
  bool was_huge = page->kind == HA_PAGE_HUGE;
  count_free_locked(page);
  if (was_huge) {
    ha_page_map_set(block, 1, NULL);
    ha_descriptor_free_locked(page);
  } else {
    ha_span_free_locked(page);
  }
  ha_unlock(HA_RANK_ARENA);
  if (was_huge) {
    ha_os_unmap(block, block_size);
  } else {
    ha_release_poke();
  }
}

/* The block has its new size: as if the old one had been freed and a new one allocated. */
static void change_size_locked(struct ha_page *page, size_t block_size) {
  retire(page);
  count_free_locked(page);
  ha_store_relaxed(&page->block_size, block_size);
  page->slices = (uint32_t)slices_of(block_size);
  page->size_class = (uint16_t)ha_class_of(block_size);
  page->is_zero = false;
  count_alloc_locked(page);
}

/* Within the slices it has, or into those behind. */
static bool resize_span(struct ha_page *page, size_t block_size) {
  size_t slices = slices_of(block_size);
  ha_lock(HA_RANK_ARENA);
  bool fits = slices == page->slices || (slices > page->slices && ha_span_extend_locked(page, slices));
  if (fits) {
    change_size_locked(page, block_size);
    ha_resident_set(page->arena, page->start, block_size);
  }
  ha_unlock(HA_RANK_ARENA);
  return fits;
}

/* Moves a huge block that cannot grow where it is. The map is changed before and after the move under one hold of the
 * lock: as soon as the old place is empty the kernel may give it to another thread. If the move fails the new place is
 * left alone, since some kernels have unmapped it by then; it is address space only. */
static bool move_huge(struct ha_page *page, size_t block_size) {
  char *target = ha_os_map_aligned(block_size, HA_SLICE);
  if (target == NULL) {
    return false;
  }
  ha_lock(HA_RANK_ARENA);
  bool is_covered = ha_page_map_cover(target, block_size);
  bool has_moved = false;
  if (is_covered) {
    ha_page_map_set(page->start, 1, NULL);
    has_moved = ha_os_remap(page->start, page->block_size, block_size, target) == 0;
    if (has_moved) {
      retire(page); /* before the lock is let go, beyond which another thread may have the old address */
      page->start = target;
    }
    ha_page_map_set(page->start, 1, page);
  }
  ha_unlock(HA_RANK_ARENA);
  if (!is_covered) {
    ha_os_unmap(target, block_size);
  }
  return has_moved;
}

static bool resize_huge(struct ha_page *page, size_t block_size) {
  size_t old_size = page->block_size;
  if (block_size < old_size) {
    ha_os_unmap(page->start + block_size, old_size - block_size);
  } else {
    int error = ha_os_remap(page->start, old_size, block_size, NULL);
    /* ENOMEM: no room behind it. Anything else says that this mapping is not to be moved either. */
    if (error != 0 && (error != -ENOMEM || !move_huge(page, block_size))) {
      return false;
    }
  }
  ha_lock(HA_RANK_ARENA);
  change_size_locked(page, block_size);
  ha_unlock(HA_RANK_ARENA);
  return true;
}

void *ha_large_resize(struct ha_page *page, size_t size) {
  if (size <= HA_MEDIUM_MAX || size > PTRDIFF_MAX - HA_OS_PAGE) {
    return NULL;
  }
  size_t block_size = ha_align_up(size, HA_OS_PAGE);
  if (page->kind < HA_PAGE_LARGE || is_huge(block_size) != (page->kind == HA_PAGE_HUGE)) {
    return NULL;
  }
  if (block_size == page->block_size) {
    return page->start;
  }
  bool grows = block_size > page->block_size;
  if (grows && ha_limit_refuses(block_size - page->block_size)) {
    return NULL;
  }
  int64_t rate;
  struct ha_entry *entry = decide(block_size, &rate);
  bool done = page->kind == HA_PAGE_HUGE ? resize_huge(page, block_size) : resize_span(page, block_size);
  if (!done) {
    return NULL;
  }
  record(page, entry, size, rate);
  if (grows && ha_limit_is_exceeded()) {
    ha_limit_make_room(ha_heap_of_thread());
  }
  return page->start;
}

struct ha_large_totals ha_large_totals(void) {
  struct ha_large_totals copy;
  /* Frees before mallocs, so that what is in use never comes out negative. */
  copy.frees = ha_load_acquire(&totals.frees);
  copy.free_bytes = ha_load_acquire(&totals.free_bytes);
  copy.mallocs = ha_load_relaxed(&totals.mallocs);
  copy.alloc_bytes = ha_load_relaxed(&totals.alloc_bytes);
  copy.huge_bytes = ha_load_relaxed(&totals.huge_bytes);
  return copy;
}
