/* SPDX-License-Identifier: MIT */
/*
 * What happens inside one page of equal blocks. All functions are called by the page's owner.
 */
#include "alloc/page.h"

#include <string.h>

#include "alloc/limit.h"
#include "alloc/park.h"
#include "alloc/remote.h"
#include "alloc/resident.h"
#include "alloc/sampled.h"
#include "alloc/size_class.h"
#include "base/log.h"

/* Blocks are carved as they are needed, so that untouched OS pages of a page stay untouched. */
#define CARVE_BYTES ((size_t)4096)

void ha_page_list_push(struct ha_page_list *list, struct ha_page *page) {
  struct ha_page *first = list->first;
  page->next = NULL;
  if (first == NULL) {
    list->first = page->prev = page;
    return;
  }
  page->prev = first->prev;
  first->prev->next = page;
  first->prev = page;
}

void ha_page_list_push_first(struct ha_page_list *list, struct ha_page *page) {
  struct ha_page *second = list->first;
  page->next = second;
  page->prev = second != NULL ? second->prev : page;
  if (second != NULL) {
    second->prev = page;
  }
  list->first = page;
}

void ha_page_list_remove(struct ha_page_list *list, struct ha_page *page) {
  struct ha_page *first = list->first;
  if (page == first) {
    list->first = page->next;
  } else {
    page->prev->next = page->next;
  }
  if (page->next != NULL) {
    page->next->prev = page->prev;
  } else if (page != first) {
    first->prev = page->prev;
  }
  page->next = page->prev = NULL;
}

size_t ha_page_slices(unsigned size_class) {
  return ha_class_size(size_class) <= HA_SMALL_MAX ? 1 : HA_MEDIUM_PAGE_SLICES;
}

void ha_page_init(struct ha_page *page, unsigned size_class) {
  ha_page_begin_change(page);
  page->free = page->local_free = NULL;
  page->credit = 0;
  page->pending = page->carved = 0;
  page->held = page->cut = page->floor = 0;
  page->size_class = (uint16_t)size_class;
  page->block_size = ha_class_size(size_class);
  page->capacity = (uint16_t)(page->slices * HA_SLICE / page->block_size);
  page->is_sampled = page->is_zero = false;
  page->place = HA_PLACE_NONE;
  page->listed = 0;
  page->parked = NULL;
  page->next = page->prev = page->woken_next = NULL;
  ha_store_relaxed(&page->remote, 0);
  ha_store_release(&page->kind, HA_PAGE_BLOCKS);
  ha_page_end_change(page);
}

/* Cuts the next blocks into a list. Returns how many; 0 if the page is used up. */
static uint32_t carve(struct ha_page *page, struct ha_block **ret_list) {
  size_t size = page->block_size;
  uint32_t count = (uint32_t)(size < CARVE_BYTES ? CARVE_BYTES / size : 1);
  if (count > (uint32_t)(page->capacity - page->cut)) {
    count = (uint32_t)(page->capacity - page->cut);
  }
  if (page->is_sampled) {
    count = ha_sampled_page_extend(page, count);
  }
  if (count == 0 || ha_limit_refuses(count * size)) {
    return 0;
  }
  char *block = page->start + page->cut * size;
  ha_resident_set(page->arena, block, count * size);
  *ret_list = (struct ha_block *)block;
  for (uint32_t i = 1; i < count; i++, block += size) {
    ((struct ha_block *)block)->next = (struct ha_block *)(block + size);
  }
  ((struct ha_block *)block)->next = NULL;
  page->cut = (uint16_t)(page->cut + count);
  page->carved += count;
  return count;
}

static struct ha_block *last_of(struct ha_block *list) {
  while (list->next != NULL) {
    list = list->next;
  }
  return list;
}

/* The local list becomes the alloc list, with new blocks behind it if it is short: those just used are in the cache. */
static void take_local(struct ha_page *page) {
  page->free = page->local_free;
  page->local_free = NULL;
  page->held = (uint16_t)(page->carved - page->pending);
  if (ha_page_wants_more(page)) {
    page->held = (uint16_t)(page->held + carve(page, &last_of(page->free)->next));
  }
  page->pending = page->carved;
  page->is_zero = false;
}

static void refill(struct ha_page *page) {
  if (page->local_free != NULL) {
    take_local(page);
    return;
  }
  struct ha_remote_list list = ha_remote_take(page, 0);
  if (list.count != 0) {
    page->free = list.first;
    page->held = (uint16_t)list.count;
    page->is_zero = false;
    return;
  }
  bool has_parked = ha_page_has_parked(page) && !ha_limit_refuses(HA_PAGE_AHEAD_BYTES);
  page->held = (uint16_t)(has_parked ? ha_page_unpark(page, &page->free) : carve(page, &page->free));
  page->pending += page->held;
  /* Not for pages of samples: they go from thread to thread, and whoever got a block of one cannot look any more. */
  page->is_zero = page->is_fresh && !page->is_sampled && !has_parked;
}

bool ha_page_refill(struct ha_page *page) {
  ha_page_begin_change(page);
  refill(page);
  ha_page_end_change(page);
  return page->held != 0;
}

/* Puts a list of `count` blocks in front of the local list. */
static void add_to_local(struct ha_page *page, struct ha_block *first, uint32_t count) {
  last_of(first)->next = page->local_free;
  page->local_free = first;
  page->pending -= count;
}

void ha_page_gather(struct ha_page *page, bool all) {
  ha_page_begin_change(page);
  struct ha_remote_list list = ha_remote_take(page, 0);
  if (list.count != 0) {
    add_to_local(page, list.first, list.count);
  }
  if (all && page->held != 0) {
    uint32_t count = page->held;
    page->held = 0;
    add_to_local(page, page->free, count);
    page->free = NULL;
  }
  ha_page_end_change(page);
}

long ha_page_block_index(const struct ha_page *page, const void *block) {
  size_t offset = (size_t)((const char *)block - page->start);
  size_t index = offset / page->block_size;
  return offset % page->block_size == 0 && index < page->cut ? (long)index : -1;
}

static uint32_t list_length(const struct ha_block *block) {
  uint32_t length = 0;
  for (; block != NULL; block = block->next) {
    length++;
  }
  return length;
}

void ha_page_check(const struct ha_page *page) {
  bool is_right = page->carved <= page->cut && page->cut <= page->capacity && page->credit >= 0 &&
                  list_length(page->local_free) == page->carved - page->pending - page->floor &&
                  list_length(page->free) == (uint32_t)page->credit + page->held &&
                  ha_page_block_index(page, page->start) == (page->cut > 0 ? 0 : -1);
  if (!is_right) {
    ha_die("page %p of class %u is broken: carved %u pending %u credit %d held %u", (const void *)page,
           (unsigned)page->size_class, page->carved, page->pending, page->credit, page->held);
  }
}
