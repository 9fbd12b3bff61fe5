/* SPDX-License-Identifier: MIT */
/*
 * One bit per block, in the page's bitmap and in one on the stack.
 */
#include "alloc/park.h"

#include "alloc/resident.h"
#include "alloc/size_class.h"
#include "base/meta.h"
#include "base/os.h"

#define BITS 64
#define WORDS_MAX (HA_SLICE / HA_BLOCK_ALIGNMENT / BITS)
#define OS_PAGES_MAX (HA_MEDIUM_PAGE_SLICES * HA_SLICE / HA_OS_PAGE)
/* So much is cut of parked blocks at once, as when a page is carved. */
#define UNPARK_BYTES ((size_t)4096)

static size_t words_of(const struct ha_page *page) {
  return ((size_t)page->capacity + BITS - 1) / BITS;
}

static size_t index_of(const struct ha_page *page, const struct ha_block *block) {
  return (size_t)((const char *)block - page->start) / page->block_size;
}

static bool has_bit(const uint64_t *bits, size_t index) {
  return (bits[index / BITS] >> (index % BITS) & 1) != 0;
}

static void set_bit(uint64_t *bits, size_t index) {
  bits[index / BITS] |= (uint64_t)1 << (index % BITS);
}

static void clear_bit(uint64_t *bits, size_t index) {
  bits[index / BITS] &= ~((uint64_t)1 << (index % BITS));
}

static char *os_page(const struct ha_page *page, size_t index) {
  return page->start + index * HA_OS_PAGE;
}

/* The blocks that an OS page has a part of: [first, end). Behind the last block of a page there may be none. */
struct overlap {
  size_t first;
  size_t end;
};

static struct overlap blocks_in(const struct ha_page *page, size_t index) {
  size_t first = index * HA_OS_PAGE / page->block_size;
  size_t end = ((index + 1) * HA_OS_PAGE - 1) / page->block_size + 1;
  return (struct overlap){first, end < page->capacity ? end : page->capacity};
}

static bool is_free(const struct ha_page *page, const uint64_t *free_blocks, size_t index) {
  struct overlap blocks = blocks_in(page, index);
  if (blocks.end > page->cut || ha_resident_count(page->arena, os_page(page, index), HA_OS_PAGE) == 0) {
    return false;
  }
  for (size_t block = blocks.first; block < blocks.end; block++) {
    if (!has_bit(free_blocks, block) && (page->parked == NULL || !has_bit(page->parked, block))) {
      return false;
    }
  }
  return true;
}

/* Those with their bit clear leave the local list. */
static void filter_local(struct ha_page *page, const uint64_t *staying) {
  struct ha_block **link = &page->local_free;
  while (*link != NULL) {
    if (has_bit(staying, index_of(page, *link))) {
      link = &(*link)->next;
    } else {
      *link = (*link)->next;
      page->carved--;
    }
  }
}

static void release_run(const struct ha_page *page, size_t first, size_t end, size_t *released) {
  if (end > first && ha_os_release(os_page(page, first), (end - first) * HA_OS_PAGE)) {
    *released += ha_resident_clear(page->arena, os_page(page, first), (end - first) * HA_OS_PAGE);
  }
}

static size_t release_marked(const struct ha_page *page, const uint64_t *marked, size_t count) {
  size_t released = 0;
  size_t first = 0;
  for (size_t index = 0; index < count; index++) {
    if (!has_bit(marked, index)) {
      release_run(page, first, index, &released);
      first = index + 1;
    }
  }
  release_run(page, first, count, &released);
  return released;
}

/* Moves the blocks of an OS page from the free ones to the parked ones; some may be there with their other part. */
static void move_to_parked(struct ha_page *page, uint64_t *free_blocks, size_t index) {
  struct overlap blocks = blocks_in(page, index);
  for (size_t block = blocks.first; block < blocks.end; block++) {
    clear_bit(free_blocks, block);
    set_bit(page->parked, block);
  }
}

static bool ensure_bitmap(struct ha_page *page) {
  if (page->parked == NULL) {
    page->parked = ha_meta_alloc(words_of(page) * sizeof(uint64_t), HA_META_SPANS);
  }
  return page->parked != NULL;
}

size_t ha_page_park(struct ha_page *page) {
  uint64_t free_blocks[WORDS_MAX] = {0};
  uint64_t marked[OS_PAGES_MAX / BITS] = {0};
  size_t os_pages = page->slices * (HA_SLICE / HA_OS_PAGE);
  bool is_any = false;
  for (const struct ha_block *block = page->local_free; block != NULL; block = block->next) {
    set_bit(free_blocks, index_of(page, block));
  }
  for (size_t index = 0; index < os_pages; index++) {
    if (is_free(page, free_blocks, index)) {
      set_bit(marked, index);
      is_any = true;
    }
  }
  if (!is_any || !ensure_bitmap(page)) {
    return 0;
  }
  for (size_t index = 0; index < os_pages; index++) {
    if (has_bit(marked, index)) {
      move_to_parked(page, free_blocks, index);
    }
  }
  filter_local(page, free_blocks);
  return release_marked(page, marked, os_pages);
}

uint32_t ha_page_unpark(struct ha_page *page, struct ha_block **ret_list) {
  size_t wanted = page->block_size < UNPARK_BYTES ? UNPARK_BYTES / page->block_size : 1;
  uint32_t count = 0;
  struct ha_block **link = ret_list;
  for (size_t word = 0; word < words_of(page) && count < wanted; word++) {
    while (page->parked[word] != 0 && count < wanted) {
      size_t index = word * BITS + (size_t)__builtin_ctzll(page->parked[word]);
      clear_bit(page->parked, index);
      *link = (struct ha_block *)(page->start + index * page->block_size);
      ha_resident_set(page->arena, (const char *)*link, page->block_size);
      link = &(*link)->next;
      count++;
    }
  }
  *link = NULL;
  page->carved += count;
  if (!ha_page_has_parked(page)) {
    ha_page_forget_parked(page);
  }
  return count;
}

void ha_page_forget_parked(struct ha_page *page) {
  if (page->parked != NULL) {
    ha_meta_free(page->parked, words_of(page) * sizeof(uint64_t), HA_META_SPANS);
    page->parked = NULL;
  }
}
