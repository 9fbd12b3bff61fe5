/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a block in use whose memory is given back and reads as zero, a block that is
 * lost or handed out twice because it was parked, memory that is never given back although nobody uses it.
 *
 * What may be released is computed here from the bytes that blocks in use cover, and whether it was is asked
 * of the kernel.
 */
#include "alloc/park.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "alloc/arena.h"
#include "alloc/heap.h"
#include "alloc/page_map.h"
#include "alloc/resident.h"
#include "alloc/size_class.h"
#include "alloc/stats.h"
#include "base/config.h"
#include "base/meta.h"
#include "base/os.h"
#include "tests/test.h"

#define SEED 20261201
#define BLOCKS_MAX 4096
#define OS_PAGES_MAX (HA_MEDIUM_PAGE_SLICES * HA_SLICE / HA_OS_PAGE)
#define WORD_BITS 64

static const size_t sizes[] = {16, 48, 1000, 8 * 1024, 20 * 1024, 64 * 1024};

enum state { UNCUT, IN_USE, FREE, HELD };

/* A page, and what each of its blocks should be. */
static struct {
  struct ha_page *page;
  enum state states[BLOCKS_MAX];
  uint64_t lives[BLOCKS_MAX]; /* how often it was handed out: old content is not taken for new */
  size_t in_use;
} model;

static size_t os_page_count(void) {
  return model.page->slices * (HA_SLICE / HA_OS_PAGE);
}

static const char *os_page(size_t index) {
  return model.page->start + index * HA_OS_PAGE;
}

static uint64_t *words_of(size_t index) {
  return (uint64_t *)(void *)(model.page->start + index * model.page->block_size);
}

static uint64_t mark_of(size_t index) {
  return (uintptr_t)words_of(index) ^ model.lives[index] << 48;
}

static void fill(size_t index) {
  model.lives[index]++;
  for (size_t i = 0; i < model.page->block_size / sizeof(uint64_t); i++) {
    words_of(index)[i] = mark_of(index) + i;
  }
}

static void check_content(size_t index) {
  for (size_t i = 0; i < model.page->block_size / sizeof(uint64_t); i++) {
    CHECK(words_of(index)[i] == mark_of(index) + i, "size %zu: block %zu in use has changed at word %zu",
          model.page->block_size, index, i);
  }
}

static void check_all_content(void) {
  for (size_t index = 0; index < model.page->capacity; index++) {
    if (model.states[index] == IN_USE) {
      check_content(index);
    }
  }
}

static void start(size_t size) {
  memset(&model, 0, sizeof model);
  model.page = ha_page_alloc(ha_class_of(size), false);
  CHECK(model.page != NULL && model.page->capacity <= BLOCKS_MAX, "no page for size %zu", size);
}

/* False when the page has no more. */
static bool take(void) {
  struct ha_page *page = model.page;
  if (page->held == 0 && !ha_page_refill(page)) {
    return false;
  }
  page->held--;
  long index = ha_page_block_index(page, ha_page_pop(page));
  CHECK(index >= 0 && model.states[index] != IN_USE, "size %zu: block %ld comes twice", page->block_size,
        index);
  model.states[index] = IN_USE;
  model.in_use++;
  fill((size_t)index);
  return true;
}

static void give(size_t index) {
  struct ha_block *block = (struct ha_block *)(void *)words_of(index);
  check_content(index);
  block->next = model.page->local_free;
  model.page->local_free = block;
  model.page->pending--;
  model.states[index] = FREE;
  model.in_use--;
}

/* Blocks on the alloc list are free, but not to be parked. */
static void set_held(enum state state) {
  for (struct ha_block *block = model.page->free; block != NULL && model.page->held > 0;
       block = block->next) {
    model.states[ha_page_block_index(model.page, block)] = state;
  }
}

static uint32_t parked_bits(void) {
  uint32_t bits = 0;
  for (size_t word = 0; model.page->parked != NULL && word * WORD_BITS < model.page->capacity; word++) {
    bits += (uint32_t)__builtin_popcountll(model.page->parked[word]);
  }
  return bits;
}

static void check_equations(void) {
  const struct ha_page *page = model.page;
  ha_page_check(page);
  CHECK_EQ(parked_bits(), (uint32_t)page->cut - page->carved);
  CHECK_EQ((size_t)page->pending - page->held, model.in_use);
  for (size_t index = 0; page->parked != NULL && index < page->capacity; index++) {
    bool is_parked = (page->parked[index / WORD_BITS] >> (index % WORD_BITS) & 1) != 0;
    CHECK(!is_parked || model.states[index] == FREE, "size %zu: block %zu is parked but not free",
          page->block_size, index);
  }
}

/* Whether nothing but blocks of the local list, and those parked before, lie in an OS page. */
static bool is_wholly_free(size_t index) {
  const struct ha_page *page = model.page;
  size_t to = (index + 1) * HA_OS_PAGE;
  for (size_t block = index * HA_OS_PAGE / page->block_size;
       block * page->block_size < to && block < page->capacity; block++) {
    if (model.states[block] != FREE) {
      return false;
    }
  }
  return true;
}

/* Behind the last block some bytes may be left, also of OS pages without any block. Whether those go is not asked for. */
static bool is_covered(size_t index) {
  return index * HA_OS_PAGE < model.page->capacity * model.page->block_size;
}

static bool is_marked_resident(size_t index) {
  return ha_resident_count(model.page->arena, os_page(index), HA_OS_PAGE) == 1;
}

static void check_released(const bool *was_marked, const bool *is_free) {
  unsigned char residency[OS_PAGES_MAX];
  mincore(model.page->start, model.page->slices * HA_SLICE, residency);
  for (size_t i = 0; i < os_page_count(); i++) {
    bool is_marked = is_marked_resident(i);
    if (!is_free[i]) {
      CHECK_EQ(is_marked, was_marked[i]);
    }
    CHECK(!is_marked || !is_free[i] || !is_covered(i), "size %zu: OS page %zu is free but was kept",
          model.page->block_size, i);
    CHECK(is_marked || (residency[i] & 1) == 0, "size %zu: OS page %zu is resident still",
          model.page->block_size, i);
  }
}

/* Parks, and compares what was released with what had to be. Returns how many OS pages. */
static size_t park(void) {
  bool is_free[OS_PAGES_MAX], was_marked[OS_PAGES_MAX];
  set_held(HELD);
  for (size_t i = 0; i < os_page_count(); i++) {
    was_marked[i] = is_marked_resident(i);
    is_free[i] = is_wholly_free(i);
  }
  set_held(FREE);
  uint64_t resident = ha_resident_pages();
  size_t released = ha_page_park(model.page);
  CHECK_EQ(ha_resident_pages(), resident - released);
  check_released(was_marked, is_free);
  check_equations();
  check_all_content();
  return released;
}

static void take_all(void) {
  while (take()) {
  }
  CHECK_EQ(model.in_use, (size_t)model.page->capacity);
  CHECK(model.page->parked == NULL, "a bitmap stays though nothing is parked");
  check_equations();
  check_all_content();
  for (size_t i = 0; i < model.page->capacity * model.page->block_size / HA_OS_PAGE; i++) {
    CHECK(is_marked_resident(i), "OS page %zu is in use but not counted", i);
  }
}

/* Gives all blocks but those in some stretches, whole or thinned out, so that OS pages become free in all
 * ways. */
static void give_some(uint64_t *random) {
  size_t stretch = 2 * HA_OS_PAGE / model.page->block_size + 1;
  unsigned kept_of_64 = 0;
  for (size_t index = 0; index < model.page->capacity; index++) {
    if (index % stretch == 0) {
      const unsigned choices[] = {0, 0, 0, 1, 16, 64};
      kept_of_64 = choices[test_random(random) % HA_ARRAY_LEN(choices)];
    }
    if (model.states[index] == IN_USE && test_random(random) % 64 >= kept_of_64) {
      give(index);
    }
  }
}

TEST(what_is_parked_is_given_back_and_comes_again_once) {
  uint64_t random = SEED;
  size_t released = 0;
  for (size_t i = 0; i < HA_ARRAY_LEN(sizes); i++) {
    for (int round = 0; round < 60; round++) {
      start(sizes[i]);
      take_all();
      give_some(&random);
      released += park();
      take_all();
      ha_page_release(model.page);
    }
  }
  test_note("seed %d: %zu OS pages released", SEED, released);
  CHECK(released > 1000, "only %zu OS pages were released", released);
}

TEST(parking_twice_changes_nothing_more) {
  uint64_t random = SEED;
  for (size_t i = 0; i < HA_ARRAY_LEN(sizes); i++) {
    start(sizes[i]);
    take_all();
    give_some(&random);
    park();
    struct ha_page once = *model.page;
    CHECK_EQ(ha_page_park(model.page), (size_t)0);
    CHECK(memcmp(&once, model.page, sizeof once) == 0, "size %zu: the page has changed", sizes[i]);
    take_all();
  }
}

/* A page lives long: partly cut, partly parked, partly taken again, with blocks that reach into OS pages of
 * both kinds. */
TEST(a_page_parked_again_and_again_loses_no_block) {
  uint64_t random = SEED;
  for (size_t i = 0; i < HA_ARRAY_LEN(sizes); i++) {
    start(sizes[i]);
    for (int round = 0; round < 600; round++) {
      for (size_t count = test_random(&random) % (model.page->capacity + 1u); count > 0 && take(); count--) {
      }
      if (test_random(&random) % 2 == 0) {
        set_held(FREE);
        ha_page_gather(model.page, true);
      }
      give_some(&random);
      park();
    }
    take_all();
  }
}

/* One block in each OS page is in use: all that could be parked is nothing. */
TEST(with_nothing_to_release_nothing_changes) {
  for (size_t i = 0; i < HA_ARRAY_LEN(sizes); i++) {
    start(sizes[i]);
    take_all();
    size_t step = HA_OS_PAGE / model.page->block_size;
    for (size_t index = 0; index < model.page->capacity; index++) {
      if (step > 1 && index % step != 0) {
        give(index);
      }
    }
    struct ha_page before = *model.page;
    uint64_t meta = ha_meta_bytes(HA_META_SPANS);
    CHECK_EQ(park(), (size_t)0);
    CHECK(memcmp(&before, model.page, sizeof before) == 0, "size %zu: the page has changed", sizes[i]);
    CHECK_EQ(ha_meta_bytes(HA_META_SPANS), meta);
  }
}

TEST(a_page_that_goes_takes_its_bitmap_along) {
  uint64_t random = SEED;
  for (size_t i = 0; i < HA_ARRAY_LEN(sizes); i++) {
    start(sizes[i]);
    take_all();
    uint64_t meta = ha_meta_bytes(HA_META_SPANS);
    give_some(&random);
    park();
    CHECK(model.page->parked != NULL, "size %zu: nothing was parked", sizes[i]);
    for (size_t index = 0; index < model.page->capacity; index++) {
      if (model.states[index] == IN_USE) {
        give(index);
      }
    }
    park();
    CHECK_EQ(model.page->pending, 0u);
    ha_page_release(model.page);
    CHECK(ha_meta_bytes(HA_META_SPANS) <= meta, "size %zu: %lu bytes of metadata are lost", sizes[i],
          ha_meta_bytes(HA_META_SPANS) - meta);
  }
}

/* The kernel refuses locked memory. The blocks are parked all the same and must be had again. */
TEST(what_the_kernel_does_not_take_counts_as_resident_and_serves_again) {
  start(1000);
  take_all();
  if (mlock(model.page->start, HA_SLICE) != 0) {
    test_skip("mlock: %s", strerror(errno));
  }
  for (size_t index = 0; index < model.page->capacity; index++) {
    give(index);
  }
  uint64_t resident = ha_resident_pages();
  CHECK_EQ(ha_page_park(model.page), (size_t)0);
  CHECK_EQ(ha_resident_pages(), resident);
  check_equations();
  take_all();
}

/* ---- Through malloc ---- */

#define PAGES 12
#define SIZE_48 48
#define SIZE_1000 1000

static char *blocks[PAGES * HA_SLICE / SIZE_48];

static size_t fill_pages(size_t size) {
  size_t count = PAGES * (HA_SLICE / ha_class_size(ha_class_of(size)));
  hp_set_mem_profile_rate(0);
  ha_config.background = HA_BACKGROUND_OFF;
  for (size_t i = 0; i < count; i++) {
    blocks[i] = malloc(size);
    CHECK(blocks[i] != NULL, "no memory");
    memset(blocks[i], 0xee, size);
  }
  return count;
}

static size_t parked_blocks(const struct ha_page *page) {
  return (size_t)page->cut - page->carved;
}

/* Blocks of 48 bytes reach from one OS page into the next, so some have only a part that reads as zero. */
TEST(calloc_clears_what_was_parked) {
  size_t count = fill_pages(SIZE_48);
  for (size_t i = 0; i < count; i++) {
    if (i % 200 != 0) {
      free(blocks[i]);
    }
  }
  ha_heap_park(ha_heap_of_thread(), SIZE_MAX);
  CHECK(parked_blocks(ha_page_of(blocks[0])) > 0, "nothing was parked");
  for (size_t i = 0; i < count; i++) {
    const char *block = i % 200 != 0 ? blocks[i] = calloc(1, SIZE_48) : NULL;
    for (size_t k = 0; block != NULL && k < SIZE_48; k++) {
      CHECK(block[k] == 0, "byte %zu of block %zu is not zero", k, i);
    }
  }
}

/* Even one page at a time: none is looked at twice before all were. */
TEST(a_heap_parks_its_pages_in_turn) {
  size_t count = fill_pages(SIZE_1000);
  size_t per_page = count / PAGES;
  struct ha_heap *heap = ha_heap_of_thread();
  for (size_t i = 0; i < count; i++) {
    if (i % per_page >= per_page / 2) {
      free(blocks[i]);
    }
  }
  for (int i = 0; i < PAGES + 1; i++) {
    ha_heap_park(heap, 1);
  }
  unsigned parked = 0;
  for (size_t i = 0; i < count; i += per_page) {
    const struct ha_page *page = ha_page_of(blocks[i]);
    ha_page_check(page);
    parked += parked_blocks(page) > 0;
  }
  CHECK(parked >= PAGES - 1, "only %u of %d pages were looked at", parked, PAGES);
}

/* The floor under a page's pending count is put back as it was: the page still goes when it is empty. */
TEST(parked_pages_of_a_heap_go_when_they_are_empty) {
  free(malloc(SIZE_1000));
  struct ha_heap *heap = ha_heap_of_thread();
  ha_heap_trim(heap);
  struct hp_memstats before, after;
  ha_stats_read(&before);
  size_t count = fill_pages(SIZE_1000);
  for (size_t i = 0; i < count; i += 2) {
    free(blocks[i]);
  }
  for (int round = 0; round < 3; round++) {
    ha_heap_park(heap, SIZE_MAX);
    for (size_t i = 1 + 2 * (size_t)round; i < count; i += 6) {
      CHECK(blocks[i][0] == (char)0xee && blocks[i][SIZE_1000 - 1] == (char)0xee, "block %zu has changed", i);
      free(blocks[i]);
    }
  }
  ha_outbox_flush(&heap->outbox);
  ha_heap_trim(heap);
  ha_stats_read(&after);
  CHECK_EQ(after.HeapAlloc, before.HeapAlloc);
  CHECK_EQ(after.HeapInuse, before.HeapInuse);
  CHECK_EQ(after.MSpanSys, before.MSpanSys);
}
