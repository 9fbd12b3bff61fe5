/* SPDX-License-Identifier: MIT */
/*
 * The scratch heap over mimalloc.
 *
 * mimalloc keeps freed memory committed for a while, in the hope of using it again. A profile is encoded once
 * a minute at best, so there is nothing to hope for: with its delays at zero and a forced collection after
 * the heap is gone, the resident size falls back to where it was (250 MiB of scratch: 1.8 MiB stay). The
 * options are set here each time, because the user's MIMALLOC_* variables must not decide over them.
 *
 * The limit counts the bytes asked for, not those that rounding adds.
 */
#include "proto/scratch.h"

#include <mimalloc.h>
#include <stdbool.h>
#include <string.h>

/* The first capacity of a growing array, in items. */
#define ROOM_FIRST 64

struct ha_scratch {
  mi_heap_t *heap;
  size_t left; /* bytes that may still be asked for */
};

static void set_options(void) {
  mi_option_set(mi_option_limit_os_alloc, 0);
#if MI_MALLOC_VERSION >= 210
  mi_option_set(mi_option_purge_delay, 0);
#else
  mi_option_set(mi_option_allow_decommit, 1);
  mi_option_set(mi_option_decommit_delay, 0);
  mi_option_set(mi_option_segment_decommit_delay, 0);
#endif
}

struct ha_scratch *ha_scratch_new(void) {
  set_options();
  mi_heap_t *heap = mi_heap_new();
  if (heap == NULL) {
    return NULL;
  }
  struct ha_scratch *scratch = mi_heap_malloc(heap, sizeof(*scratch));
  if (scratch == NULL) {
    mi_heap_destroy(heap);
    return NULL;
  }
  scratch->heap = heap;
  scratch->left = SIZE_MAX;
  return scratch;
}

void ha_scratch_destroy(struct ha_scratch *scratch) {
  if (scratch == NULL) {
    return;
  }
  mi_heap_destroy(scratch->heap);
  mi_collect(true);
}

void ha_scratch_set_limit(struct ha_scratch *scratch, size_t size) {
  scratch->left = size;
}

static bool take(struct ha_scratch *scratch, size_t size) {
  /* PTRDIFF_MAX is the largest object of C; mimalloc complains aloud about requests above it. */
  if (size > PTRDIFF_MAX || size > scratch->left) {
    return false;
  }
  scratch->left -= size;
  return true;
}

void *ha_scratch_alloc(struct ha_scratch *scratch, size_t size) {
  return take(scratch, size) ? mi_heap_malloc(scratch->heap, size) : NULL;
}

void *ha_scratch_zalloc(struct ha_scratch *scratch, size_t count, size_t item_size) {
  size_t size;
  if (__builtin_mul_overflow(count, item_size, &size) || !take(scratch, size)) {
    return NULL;
  }
  return mi_heap_zalloc(scratch->heap, size);
}

void *ha_scratch_grow(struct ha_scratch *scratch, void *block, size_t old_size, size_t new_size) {
  if (new_size <= old_size) {
    return block;
  }
  return take(scratch, new_size - old_size) ? mi_heap_realloc(scratch->heap, block, new_size) : NULL;
}

void *ha_scratch_room(struct ha_scratch *scratch, void *items, uint32_t count, uint32_t *capacity,
                      size_t item_size) {
  if (count < *capacity) {
    return items;
  }
  if (*capacity > UINT32_MAX / 2) {
    return NULL;
  }
  uint32_t larger = *capacity == 0 ? ROOM_FIRST : *capacity * 2;
  void *moved = ha_scratch_grow(scratch, items, *capacity * item_size, larger * item_size);
  if (moved != NULL) {
    *capacity = larger;
  }
  return moved;
}

char *ha_scratch_copy_text(struct ha_scratch *scratch, const char *text, size_t size) {
  char *copy = ha_scratch_alloc(scratch, size + 1);
  if (copy == NULL) {
    return NULL;
  }
  memcpy(copy, text, size);
  copy[size] = '\0';
  return copy;
}
