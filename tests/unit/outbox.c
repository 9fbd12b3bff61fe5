/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a block that is lost on its way home or arrives twice, an owner who is not told that its
 * page has blocks again, a free that statistics do not count.
 */
#include "alloc/outbox.h"

#include <pthread.h>
#include <stdlib.h>

#include "alloc/arena.h"
#include "alloc/heap.h"
#include "alloc/remote.h"
#include "alloc/size_class.h"
#include "alloc/stats.h"
#include "tests/test.h"

#define CLASS_64 3u

static struct ha_outbox outbox;

static struct ha_page *new_page(unsigned size_class) {
  struct ha_page *page = ha_page_alloc(size_class, false);
  CHECK(page != NULL && ha_page_refill(page), "no memory");
  return page;
}

static struct ha_block *pop(struct ha_page *page) {
  CHECK(page->held > 0, "nothing to pop");
  page->held--;
  return ha_page_pop(page);
}

static void add(struct ha_page *page, int count) {
  for (int i = 0; i < count; i++) {
    ha_outbox_add(&outbox, page, pop(page));
  }
}

static uint32_t arrived(const struct ha_page *page) {
  return ha_remote_count(page->remote);
}

static uint64_t waiting(unsigned size_class) {
  uint64_t counts[HA_CLASS_COUNT] = {0};
  ha_outbox_count(&outbox, counts);
  return counts[size_class];
}

/* Every block that was popped is back, once. */
static void check_all_back(struct ha_page *page) {
  ha_page_gather(page, true);
  CHECK_EQ(page->pending, 0u);
  ha_page_check(page);
}

TEST(a_list_goes_over_when_it_is_long_enough) {
  struct ha_page *page = new_page(CLASS_64);
  add(page, HA_OUTBOX_BLOCKS - 1);
  CHECK_EQ(arrived(page), 0u);
  CHECK_EQ(waiting(CLASS_64), (uint64_t)HA_OUTBOX_BLOCKS - 1);
  add(page, 1);
  CHECK_EQ(arrived(page), (uint32_t)HA_OUTBOX_BLOCKS);
  CHECK_EQ(waiting(CLASS_64), (uint64_t)0);
  check_all_back(page);
}

TEST(large_blocks_do_not_wait) {
  unsigned size_class = ha_class_of(HA_OUTBOX_BYTES);
  struct ha_page *page = new_page(size_class);
  add(page, 1);
  CHECK_EQ(arrived(page), 1u);
  check_all_back(page);
}

/* With more pages than slots, each in turn, so that slots are taken from each other. */
TEST(pages_that_share_a_slot_lose_nothing) {
  enum { PAGES = 3 * HA_OUTBOX_SLOTS, ROUNDS = 30 };
  struct ha_page *pages[PAGES];
  for (int i = 0; i < PAGES; i++) {
    pages[i] = new_page(CLASS_64);
  }
  uint32_t sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < PAGES; i++) {
      add(pages[i], 1 + round % 3 / 2);
    }
  }
  for (int i = 0; i < PAGES; i++) {
    sum += arrived(pages[i]);
  }
  uint32_t added = PAGES * (ROUNDS + ROUNDS / 3);
  CHECK_EQ(sum + waiting(CLASS_64), (uint64_t)added);
  ha_outbox_flush(&outbox);
  CHECK_EQ(waiting(CLASS_64), (uint64_t)0);
  for (int i = 0; i < PAGES; i++) {
    check_all_back(pages[i]);
  }
}

/* The count jumps over the number that the owner waits for. */
TEST(a_list_wakes_the_owner_once) {
  free(malloc(1));
  struct ha_heap *heap = ha_heap_of_thread();
  struct ha_page *page = new_page(CLASS_64);
  page->heap = heap;
  CHECK(ha_remote_arm_when_empty(page, 3), "an empty list cannot be armed");
  add(page, 2);
  ha_outbox_flush(&outbox);
  CHECK(!ha_remote_is_queued(page), "woken by two of three");
  add(page, 5);
  ha_outbox_flush(&outbox);
  CHECK(ha_remote_is_queued(page) && heap->woken == page, "not woken by five more");
  add(page, 5);
  ha_outbox_flush(&outbox);
  CHECK(page->woken_next == NULL, "woken twice");
  heap->woken = NULL;
  check_all_back(page);
}

/* A thread that frees a few blocks of another and lives on. */
static void *few[5];
static pthread_barrier_t freed, looked;

static void *free_few(void *arg) {
  free(malloc(1));
  for (unsigned i = 0; i < HA_ARRAY_LEN(few); i++) {
    free(few[i]);
  }
  pthread_barrier_wait(&freed);
  pthread_barrier_wait(&looked);
  return arg;
}

static struct hp_memstats stats(void) {
  struct hp_memstats now;
  ha_stats_read(&now);
  return now;
}

TEST(frees_on_their_way_are_counted) {
  hp_set_mem_profile_rate(0);
  pthread_t thread;
  pthread_barrier_init(&freed, NULL, 2);
  pthread_barrier_init(&looked, NULL, 2);
  for (unsigned i = 0; i < HA_ARRAY_LEN(few); i++) {
    few[i] = malloc(50);
  }
  pthread_create(&thread, NULL, free_few, NULL);
  pthread_barrier_wait(&freed);
  unsigned size_class = ha_class_of(50);
  struct hp_memstats now = stats();
  uint64_t live = now.BySize[size_class].Mallocs - now.BySize[size_class].Frees;
  pthread_barrier_wait(&looked);
  pthread_join(thread, NULL);
  now = stats();
  /* The thread has handed over by now what it held: the count must not have been waiting for that. */
  CHECK_EQ(live, now.BySize[size_class].Mallocs - now.BySize[size_class].Frees);
}
