/* SPDX-License-Identifier: MIT */
/*
 * A list of unused descriptors over a list of chunks that only grows. Both change under HA_RANK_ARENA.
 */
#include "alloc/descriptor.h"

#include "base/lock.h"
#include "base/meta.h"

#define DESCRIPTORS_PER_CHUNK 511 /* with the chunk's header, 64 KiB */

struct chunk {
  struct chunk *next;
  char padding[2 * HA_CACHE_LINE - sizeof(void *)];
  struct ha_page pages[DESCRIPTORS_PER_CHUNK];
};

static struct ha_page *unused; /* through next */
static struct chunk *chunks;   /* atomic */

static bool add_chunk(void) {
  struct chunk *chunk = ha_meta_alloc(sizeof *chunk, HA_META_SPANS);
  if (chunk == NULL) {
    return false;
  }
  for (int i = DESCRIPTORS_PER_CHUNK - 1; i >= 0; i--) {
    chunk->pages[i].next = unused;
    unused = &chunk->pages[i];
  }
  chunk->next = chunks;
  ha_store_release(&chunks, chunk); /* pairs with the acquire in ha_descriptor_visit */
  return true;
}

struct ha_page *ha_descriptor_alloc_locked(void) {
  ha_lock_assert_held(HA_RANK_ARENA);
  if (unused == NULL && !add_chunk()) {
    return NULL;
  }
  struct ha_page *page = unused;
  unused = page->next;
  page->next = page->prev = NULL;
  return page;
}

void ha_descriptor_free_locked(struct ha_page *page) {
  ha_lock_assert_held(HA_RANK_ARENA);
  ha_store_relaxed(&page->owner, NULL);
  ha_store_relaxed(&page->heap, NULL);
  ha_store_release(&page->kind, HA_PAGE_UNUSED);
  page->next = unused;
  unused = page;
}

void ha_descriptor_visit(void (*visit)(const struct ha_page *page, void *arg), void *arg) {
  for (struct chunk *chunk = ha_load_acquire(&chunks); chunk != NULL; chunk = chunk->next) {
    for (int i = 0; i < DESCRIPTORS_PER_CHUNK; i++) {
      visit(&chunk->pages[i], arg);
    }
  }
}
