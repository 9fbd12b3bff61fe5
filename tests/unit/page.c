/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a block handed out twice, a block lost for good, statistics that drift from
 * the truth, because the four places of a block do not add up.
 */
#include <pthread.h>
#include <stdlib.h>

#include "alloc/arena.h"
#include "alloc/heap.h"
#include "alloc/page.h"
#include "alloc/remote.h"
#include "alloc/sampled.h"
#include "alloc/size_class.h"
#include "base/meta.h"
#include "tests/test.h"

#define CLASS_64 3u
#define THREADS 4

static struct ha_page *new_page(unsigned size_class) {
  struct ha_page *page = ha_page_alloc(size_class, false);
  CHECK(page != NULL, "no memory");
  return page;
}

/* Pops what is on the alloc list, as a heap does with credit. */
static struct ha_block *pop(struct ha_page *page) {
  CHECK(page->held > 0, "nothing to pop");
  page->held--;
  return ha_page_pop(page);
}

static void free_local(struct ha_page *page, struct ha_block *block) {
  block->next = page->local_free;
  page->local_free = block;
  page->pending--;
}

static void check_every_block_once(unsigned size_class) {
  struct ha_page *page = new_page(size_class);
  unsigned char *seen = calloc(page->capacity, 1);
  uint32_t count = 0;
  while (ha_page_refill(page)) {
    ha_page_check(page);
    while (page->held > 0) {
      struct ha_block *block = pop(page);
      long index = ha_page_block_index(page, block);
      CHECK(index >= 0 && !seen[index], "class %u: block %ld comes twice", size_class, index);
      seen[index] = 1;
      count++;
      memset(block, 0xee, page->block_size);
    }
  }
  CHECK_EQ(count, page->capacity);
  CHECK((size_t)count * page->block_size <= page->slices * HA_SLICE, "blocks reach beyond the page");
  CHECK((size_t)(count + 1) * page->block_size > page->slices * HA_SLICE, "another block would fit");
}

TEST(a_page_of_each_class_gives_each_block_once) {
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    check_every_block_once(size_class);
  }
}

TEST(a_fresh_page_is_zero_but_for_the_links_and_knows_it) {
  struct ha_page *page = new_page(CLASS_64);
  CHECK(page->is_fresh, "the first page of a process is not fresh");
  CHECK(ha_page_refill(page) && page->is_zero, "carved blocks of a fresh page are not known to be zero");
  char *block = (char *)pop(page);
  for (size_t i = sizeof(struct ha_block); i < page->block_size; i++) {
    CHECK_EQ(block[i], '\0');
  }
  free_local(page, (struct ha_block *)block);
  while (page->held > 0) {
    pop(page);
  }
  CHECK(ha_page_refill(page) && !page->is_zero, "blocks that were used pass for zero");
}

TEST(local_frees_come_back_before_new_blocks_are_carved) {
  struct ha_page *page = new_page(CLASS_64);
  ha_page_refill(page);
  struct ha_block *block = pop(page);
  while (page->held > 0) {
    pop(page);
  }
  uint32_t carved = page->carved;
  free_local(page, block);
  CHECK(ha_page_refill(page), "the freed block does not come back");
  CHECK_EQ(pop(page), block);
  CHECK_EQ(page->carved, carved);
  CHECK_EQ(page->pending, carved);
}

TEST(gathering_everything_makes_an_unused_page_empty) {
  struct ha_page *page = new_page(CLASS_64);
  ha_page_refill(page);
  struct ha_block *first = pop(page);
  struct ha_block *second = pop(page);
  ha_remote_free(page, first);
  free_local(page, second);
  ha_page_gather(page, true);
  CHECK_EQ(page->pending, 0u);
  CHECK_EQ(page->held, 0u);
  ha_page_check(page);
}

TEST(an_index_is_given_to_starts_of_carved_blocks_only) {
  struct ha_page *page = new_page(CLASS_64);
  ha_page_refill(page);
  CHECK_EQ(ha_page_block_index(page, page->start), 0L);
  CHECK_EQ(ha_page_block_index(page, page->start + 64), 1L);
  CHECK_EQ(ha_page_block_index(page, page->start + 16), -1L);
  CHECK_EQ(ha_page_block_index(page, page->start + 64 * page->carved), -1L);
  CHECK_EQ(ha_page_block_index(page, page->start - 64), -1L);
}

static void check_broken(void *arg) {
  ha_page_check(arg);
}

TEST(a_page_whose_lists_do_not_add_up_is_caught) {
  struct ha_page *page = new_page(CLASS_64);
  ha_page_refill(page);
  page->pending--;
  char text[512];
  CHECK(test_capture(check_broken, page, text, sizeof text) != 0, "nothing was noticed");
  CHECK(strstr(text, "is broken: carved 64 pending 63 credit 0 held 64\n") != NULL, "it said: %s", text);
}

TEST(a_page_of_samples_has_records_for_its_blocks_and_no_more) {
  struct ha_page *page = new_page(CLASS_64);
  CHECK(ha_sampled_page_prepare(page), "no memory");
  uint32_t count = 0;
  while (ha_page_refill(page)) {
    count += page->held;
    page->held = 0;
    page->free = NULL;
  }
  CHECK_EQ(count, page->capacity);
  uint64_t bytes = ha_meta_bytes(HA_META_PROFILE);
  CHECK(!ha_page_refill(page), "more blocks than there are");
  CHECK_EQ(ha_sampled_page_extend(page, 1), 0u);
  CHECK_EQ(ha_meta_bytes(HA_META_PROFILE), bytes);
}

TEST(lists_keep_order_and_lose_no_one) {
  struct ha_page pages[3];
  struct ha_page_list list = {NULL};
  for (int i = 0; i < 3; i++) {
    ha_page_list_push(&list, &pages[i]);
  }
  ha_page_list_remove(&list, &pages[1]);
  CHECK(list.first == &pages[0] && pages[0].next == &pages[2] && pages[2].prev == &pages[0],
        "the middle is not out");
  ha_page_list_remove(&list, &pages[0]);
  CHECK(list.first == &pages[2] && pages[2].next == NULL && pages[2].prev == &pages[2], "the first is not out");
  ha_page_list_remove(&list, &pages[2]);
  CHECK(list.first == NULL, "the list is not empty");
}

TEST(remote_frees_wake_the_owner_once_when_armed) {
  free(malloc(1));
  struct ha_page *page = new_page(CLASS_64);
  struct ha_heap *heap = ha_heap_of_thread();
  ha_page_refill(page);
  page->heap = heap;
  struct ha_block *blocks[3] = {pop(page), pop(page), pop(page)};
  CHECK(ha_remote_arm_when_empty(page, 2), "an empty list cannot be armed");
  ha_remote_free(page, blocks[0]);
  CHECK(!ha_remote_is_queued(page), "woken by the first of two");
  CHECK(!ha_remote_arm_when_empty(page, 1), "armed over a block that is there");
  ha_remote_free(page, blocks[1]);
  CHECK(ha_remote_is_queued(page) && heap->woken == page, "not woken by the second of two");
  ha_remote_free(page, blocks[2]);
  CHECK(page->woken_next == NULL, "woken twice");
  CHECK_EQ(ha_remote_take(page, 0).count, 3u);
  heap->woken = NULL;
}

/* Takers and freers at full speed: at the end each block is on the list or in the owner's hands, once. */
static struct ha_page *busy;
static struct ha_block *slots[THREADS]; /* one block on its way to each thread */
static int is_over;

static void *free_remotely(void *arg) {
  struct ha_block **slot = &slots[(size_t)arg];
  while (!ha_load_acquire(&is_over)) {
    struct ha_block *block = __atomic_exchange_n(slot, NULL, __ATOMIC_ACQ_REL);
    if (block != NULL) {
      ha_remote_free(busy, block);
    }
  }
  return NULL;
}

TEST(no_block_is_lost_between_freers_and_owner) {
  const uint32_t rounds = 300000;
  pthread_t threads[THREADS];
  busy = new_page(CLASS_64);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, free_remotely, (void *)i);
  }
  for (uint32_t given = 0; given < rounds;) {
    struct ha_block **slot = &slots[given % THREADS];
    if (ha_load_acquire(slot) != NULL) {
      given++; /* that thread is slow: pass on to the next */
    } else if (busy->held > 0 || ha_page_refill(busy)) {
      __atomic_store_n(slot, pop(busy), __ATOMIC_RELEASE);
      given++;
    }
  }
  ha_store_release(&is_over, 1);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    if (slots[i] != NULL) {
      ha_remote_free(busy, slots[i]);
    }
  }
  ha_page_gather(busy, true);
  CHECK_EQ(busy->pending, 0u);
  ha_page_check(busy);
}
