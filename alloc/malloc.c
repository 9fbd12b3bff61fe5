/* SPDX-License-Identifier: MIT */
/*
 * malloc, calloc, realloc, free.
 *
 * The fast paths are in malloc.h. What they check is all there is to check on them: size against the table,
 * credit against zero; address against the page map, owner against the calling thread. glibc's choices are
 * kept where the standard leaves one: malloc(0) is a block of its own, realloc(p, 0) frees and gives NULL,
 * free keeps errno.
 */
#include "alloc/malloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/large.h"
#include "alloc/limit.h"
#include "alloc/remote.h"
#include "alloc/sampled.h"
#include "alloc/thread.h"
#include "base/log.h"

/* A block this much larger than wanted is worth moving out of. */
#define SHRINK_FACTOR 2
/* Below this no shrinking is worth a copy. */
#define SHRINK_MIN 256

static HA_COLD void *out_of_memory(void) {
  errno = ENOMEM;
  return NULL;
}

static HA_NOINLINE void *alloc_large(size_t size, size_t alignment) {
  void *block = ha_large_alloc(size, alignment);
  return block != NULL ? block : out_of_memory();
}

static HA_NOINLINE void *alloc_class(unsigned size_class, size_t size) {
  struct ha_heap *heap = ha_thread_heap_or_new();
  void *block = heap != NULL ? ha_heap_alloc(heap, size_class, size) : ha_homeless_alloc(size_class, size);
  if (ha_unlikely(block == NULL) && heap != NULL && ha_limit_collect(heap)) {
    block = ha_heap_alloc(heap, size_class, size);
  }
  return block != NULL ? block : out_of_memory();
}

HA_NOINLINE void *ha_malloc_slow(size_t size) {
  if (ha_unlikely(size > HA_MEDIUM_MAX)) {
    return alloc_large(size, HA_SLICE);
  }
  unsigned size_class = ha_class_of(size);
  if (size > HA_DIRECT_MAX) {
    struct ha_page *page = ha_thread_heap->current[size_class];
    if (ha_page_take_credit(page)) {
      return ha_page_pop(page);
    }
  }
  return alloc_class(size_class, size);
}

void *ha_malloc_aligned(size_t size, size_t alignment) {
  if (size > HA_MEDIUM_MAX || alignment > HA_SLICE) {
    return alignment > HA_BLOCK_ALIGNMENT ? alloc_large(size, alignment) : ha_malloc(size);
  }
  size_t rounded = ha_size_for_alignment(size, alignment);
  if (ha_likely(rounded <= HA_DIRECT_MAX)) {
    struct ha_page *page = ha_direct_page(rounded);
    if (ha_page_take_credit(page)) {
      return ha_page_pop(page);
    }
  }
  if (rounded > HA_MEDIUM_MAX) {
    return alloc_large(size, alignment);
  }
  unsigned size_class = ha_class_of(rounded);
  struct ha_page *page = ha_thread_heap->current[size_class];
  if (rounded > HA_DIRECT_MAX && ha_page_take_credit(page)) {
    return ha_page_pop(page);
  }
  return alloc_class(size_class, size);
}

static HA_COLD void bad_free(const void *block) {
  ha_die("free(%p): not a block in use: it was freed before, or never came from malloc", block);
}

static void free_block(struct ha_page *page, void *block) {
  if (ha_page_block_index(page, block) < 0) {
    bad_free(block);
  }
  if (page->is_sampled) {
    ha_sampled_free(page, block);
  }
  struct ha_heap *heap = ha_heap_of_thread();
  if (heap == NULL || page->is_sampled) {
    ha_remote_free(page, block);
  } else if (ha_load_relaxed(&page->heap) != heap || !ha_heap_free_to_full(heap, page, block)) {
    ha_outbox_add(&heap->outbox, page, block);
  }
}

HA_NOINLINE void ha_free_slow(void *block, struct ha_page *page) {
  if (page == NULL) {
    if (block != NULL) {
      bad_free(block);
    }
    return;
  }
  int saved = errno;
  switch (ha_load_relaxed(&page->kind)) {
  case HA_PAGE_BLOCKS:
    free_block(page, block);
    break;
  case HA_PAGE_LARGE:
  case HA_PAGE_HUGE:
    ha_large_free(page, block);
    break;
  default:
    bad_free(block);
  }
  errno = saved;
}

HA_EXPORT void *malloc(size_t size) {
  return ha_malloc(size);
}

HA_EXPORT void free(void *block) {
  ha_free(block);
}

/* Memory that was never written is zero but for the free list's link at its start. */
static void *zero(void *block, size_t size) {
  if (block == NULL) {
    return NULL;
  }
  const struct ha_page *page = ha_page_of(block);
  if (page->is_zero) {
    ((struct ha_block *)block)->next = NULL;
  } else {
    memset(block, 0, size);
  }
  return block;
}

HA_EXPORT void *calloc(size_t count, size_t size) {
  size_t total;
  if (ha_unlikely(__builtin_mul_overflow(count, size, &total))) {
    return out_of_memory();
  }
  return zero(ha_malloc(total), total);
}

static HA_COLD struct ha_page *page_of_block(void *block) {
  struct ha_page *page = ha_page_of(block);
  if (page == NULL || ha_load_relaxed(&page->kind) <= HA_PAGE_FREE) {
    ha_die("realloc(%p): not a block in use: it was freed before, or never came from malloc", block);
  }
  return page;
}

/* Whether a block of `usable` bytes may stay where it is when `size` are wanted. */
static bool is_good_fit(size_t size, size_t usable) {
  return size <= usable && (usable <= SHRINK_MIN || size >= usable / SHRINK_FACTOR);
}

HA_EXPORT void *realloc(void *block, size_t size) {
  if (block == NULL) {
    return ha_malloc(size);
  }
  struct ha_page *page = page_of_block(block);
  if (ha_unlikely(size == 0)) {
    ha_free(block);
    return NULL;
  }
  size_t usable = page->block_size;
  if (is_good_fit(size, usable)) {
    return block;
  }
  void *moved = ha_large_resize(page, size);
  if (moved != NULL) {
    return moved;
  }
  moved = ha_malloc(size);
  if (moved == NULL) {
    /* A smaller block can always be had: the old one. */
    return size <= usable ? block : NULL;
  }
  memcpy(moved, block, size < usable ? size : usable);
  ha_free(block);
  return moved;
}
