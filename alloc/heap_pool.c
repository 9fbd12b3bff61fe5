/* SPDX-License-Identifier: MIT */
/*
 * The pool is an array of slots, each holding a heap or nothing: an exchange takes, a compare-and-swap
 * returns. Taking from the lowest slot first keeps few heaps warm and their pages full.
 */
#include "alloc/heap_pool.h"

#include "alloc/descriptor.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "base/meta.h"
#include "sampler/interval.h"

#define POOL_SLOTS 64

static struct ha_heap *registry;         /* atomic; only grows, under HA_RANK_HEAPS */
static struct ha_heap *unused;           /* closed heaps; HA_RANK_HEAPS */
static struct ha_heap *pool_surplus;     /* returned while all slots were taken; HA_RANK_HEAPS */
static struct ha_heap *pool[POOL_SLOTS]; /* atomic */
static uint64_t thread_count;            /* HA_RANK_HEAPS; read without */

static struct ha_heap *new_heap_locked(bool is_borrowed) {
  ha_lock_assert_held(HA_RANK_HEAPS);
  struct ha_heap *heap = ha_meta_alloc(sizeof *heap, HA_META_HEAPS);
  if (heap == NULL) {
    return NULL;
  }
  for (unsigned i = 0; i < HA_DIRECT_COUNT; i++) {
    heap->direct[i] = &ha_empty_page;
  }
  for (unsigned i = 0; i < HA_CLASS_COUNT; i++) {
    heap->current[i] = &ha_empty_page;
  }
  heap->is_borrowed = is_borrowed;
  heap->next = registry;
  ha_store_release(&registry, heap); /* pairs with the acquire in ha_heap_first */
  return heap;
}

struct ha_heap *ha_heap_open(void) {
  ha_lock(HA_RANK_HEAPS);
  struct ha_heap *heap = unused;
  if (heap != NULL) {
    unused = heap->next_unused;
  } else {
    heap = new_heap_locked(false);
  }
  ha_owner_add(&thread_count, heap != NULL ? 1 : 0);
  ha_unlock(HA_RANK_HEAPS);
  if (heap != NULL) {
    ha_random_seed(&heap->random, ha_random_fresh_seed());
    ha_heap_redraw(heap);
    ha_owner_add(&heap->tends, 1); /* nobody has seen this thread idle yet */
    ha_store_release(&heap->woken, NULL);
  }
  return heap;
}

void ha_heap_retire(struct ha_heap *heap) {
  ha_lock(HA_RANK_HEAPS);
  heap->next_unused = unused;
  unused = heap;
  ha_owner_add(&thread_count, -(uint64_t)1);
  ha_unlock(HA_RANK_HEAPS);
}

static struct ha_heap *borrow_slow(void) {
  ha_lock(HA_RANK_HEAPS);
  struct ha_heap *heap = pool_surplus;
  if (heap != NULL) {
    pool_surplus = heap->next_unused;
  } else if ((heap = new_heap_locked(true)) != NULL) {
    ha_random_seed(&heap->random, ha_random_fresh_seed());
    ha_heap_redraw(heap);
  }
  ha_unlock(HA_RANK_HEAPS);
  return heap;
}

struct ha_heap *ha_heap_borrow(void) {
  for (int i = 0; i < POOL_SLOTS; i++) {
    if (ha_load_relaxed(&pool[i]) != NULL) {
      struct ha_heap *heap = ha_exchange_acq_rel(&pool[i], NULL);
      if (heap != NULL) {
        return heap;
      }
    }
  }
  return borrow_slow();
}

static void put_back(struct ha_heap *heap) {
  for (int i = 0; i < POOL_SLOTS; i++) {
    struct ha_heap *none = NULL;
    if (ha_load_relaxed(&pool[i]) == NULL && ha_cas_strong_acq_rel(&pool[i], &none, heap)) {
      return;
    }
  }
  ha_lock(HA_RANK_HEAPS);
  heap->next_unused = pool_surplus;
  pool_surplus = heap;
  ha_unlock(HA_RANK_HEAPS);
}

void ha_heap_return(struct ha_heap *heap) {
  put_back(heap);
  ha_heap_tend_pooled(heap);
}

/* All that lie in the pool, linked by next_unused. */
static struct ha_heap *take_all(void) {
  ha_lock(HA_RANK_HEAPS);
  struct ha_heap *taken = pool_surplus;
  pool_surplus = NULL;
  ha_unlock(HA_RANK_HEAPS);
  for (int i = 0; i < POOL_SLOTS; i++) {
    struct ha_heap *heap = ha_load_relaxed(&pool[i]) != NULL ? ha_exchange_acq_rel(&pool[i], NULL) : NULL;
    if (heap != NULL) {
      heap->next_unused = taken;
      taken = heap;
    }
  }
  return taken;
}

void ha_heap_trim_pooled(void) {
  struct ha_heap *heap = take_all();
  while (heap != NULL) {
    struct ha_heap *next = heap->next_unused;
    ha_heap_trim(heap);
    ha_heap_return(heap);
    heap = next;
  }
}

/* Takes this heap if it lies in a slot. */
static bool take(struct ha_heap *heap) {
  for (int i = 0; i < POOL_SLOTS; i++) {
    struct ha_heap *wanted = heap;
    if (ha_load_relaxed(&pool[i]) == heap && ha_cas_strong_acq_rel(&pool[i], &wanted, NULL)) {
      return true;
    }
  }
  return false;
}

void ha_heap_tend_pooled(struct ha_heap *heap) {
  /* Orders "a page was queued" before "is the heap in the pool?" here, and "the heap is in the pool" before "was a
   * page queued?" in the thread that returns it: one of the two sees both. */
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  while (ha_load_relaxed(&heap->woken) != NULL && take(heap)) {
    ha_heap_tend(heap);
    put_back(heap);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
  }
}

static uint64_t queued_slices; /* atomic */

void ha_heap_note_queued(int64_t slices) {
  ha_add_relaxed(&queued_slices, (uint64_t)slices);
}

uint64_t ha_heap_queued_bytes(void) {
  int64_t slices = (int64_t)ha_load_relaxed(&queued_slices);
  return slices > 0 ? (uint64_t)slices * HA_SLICE : 0;
}

struct ha_heap *ha_heap_first(void) {
  return ha_load_acquire(&registry);
}

uint64_t ha_heap_thread_count(void) {
  return ha_load_relaxed(&thread_count);
}

/* A thread that the child does not have may have been changing a page. Its counts stay as they are, but readers must not
 * wait for the end of the change. */
static void end_change(const struct ha_page *page, void *arg) {
  (void)arg;
  if (page->version % 2 != 0) {
    ha_page_end_change((struct ha_page *)page);
  }
}

void ha_heap_after_fork_in_child(void) {
  ha_descriptor_visit(end_change, NULL);
  struct ha_heap *heap = ha_heap_of_thread();
  ha_store_relaxed(&thread_count, heap != NULL ? 1 : 0);
  if (heap != NULL) {
    /* Parent and child must not go on to draw the same numbers. */
    ha_random_seed(&heap->random, ha_random_fresh_seed());
    ha_heap_redraw(heap);
  }
}
