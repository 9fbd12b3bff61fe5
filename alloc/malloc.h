/* SPDX-License-Identifier: MIT */
/*
 * The allocator's own names for what the malloc family does: the entry points of malloc.c, malloc_extra.c and
 * operators.c are thin over these. Sizes above PTRDIFF_MAX fail; errno is set to ENOMEM on failure and kept on
 * success.
 */
#ifndef HA_ALLOC_MALLOC_H
#define HA_ALLOC_MALLOC_H

#include "alloc/heap.h"
#include "alloc/page_map.h"

/* Everything that the fast paths leave over. */
void *ha_malloc_slow(size_t size);
void ha_free_slow(void *block, struct ha_page *page);

/* alignment: a power of two. */
void *ha_malloc_aligned(size_t size, size_t alignment);

/* size <= HA_DIRECT_MAX. */
HA_INLINE struct ha_page *ha_direct_page(size_t size) {
  return ha_thread_heap->direct[(size + HA_BLOCK_ALIGNMENT - 1) / HA_BLOCK_ALIGNMENT];
}

HA_INLINE void *ha_malloc(size_t size) {
  if (ha_likely(size <= HA_DIRECT_MAX)) {
    struct ha_page *page = ha_direct_page(size);
    if (ha_page_take_credit(page)) {
      return ha_page_pop(page);
    }
  }
  return ha_malloc_slow(size);
}

HA_INLINE void ha_free(void *block) {
  struct ha_page *page = ha_page_of(block);
  struct ha_heap *heap = ha_thread_heap;
  if (ha_likely(page != NULL && ha_load_relaxed(&page->owner) == heap)) {
    struct ha_block *freed = block;
    freed->next = page->local_free;
    page->local_free = freed;
    /* In this order, see is_unused_locked in heap_lists.c. */
    __atomic_signal_fence(__ATOMIC_RELEASE);
    if (ha_unlikely(--page->pending == 0)) {
      ha_heap_page_emptied(heap, page);
    }
    return;
  }
  ha_free_slow(block, page);
}

#endif
