/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: all that unit_abandoned looks at alone, when it happens at once.
 */
#include <pthread.h>
#include <stdlib.h>

#include "alloc/page_map.h"
#include "tests/unit/at_rest.h"

#define SEED 20261203
#define SLOTS 12000
#define GENERATIONS 8
#define OPERATIONS 40000 /* of a thread */
#define PHASE 5000       /* operations between filling and emptying */

static const size_t stress_sizes[] = {16, 48, 48, 200, 200, 1000, 1000, 1000, 3000, 8192, 20000};
static void *slots[SLOTS]; /* atomic: any thread frees what another has allocated */
static int running;        /* atomic: threads that are not done */

static size_t whole_size(const void *block) {
  return ha_page_of(block)->block_size;
}

static void *new_random_block(uint64_t *random) {
  void *block = malloc(stress_sizes[test_random(random) % HA_ARRAY_LEN(stress_sizes)]);
  CHECK(block != NULL, "no memory");
  fill(block, whole_size(block));
  return block;
}

static void exchange(size_t slot, void *block) {
  void *old = __atomic_exchange_n(&slots[slot], block, __ATOMIC_ACQ_REL);
  if (old != NULL) {
    check_filled(old, whole_size(old));
    free(old);
  }
}

static void *exchange_blocks(void *arg) {
  uint64_t random = SEED + (uintptr_t)arg;
  for (size_t i = 0; i < OPERATIONS; i++) {
    bool is_filling = (i / PHASE + (uintptr_t)arg) % 3 == 0;
    bool is_new = is_filling || test_random(&random) % 32 == 0;
    exchange(test_random(&random) % SLOTS, is_new ? new_random_block(&random) : NULL);
  }
  __atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

/* Statistics while blocks and pages move: what is in use never exceeds what is there, and counts do not fall.
 * */
static void check_statistics(struct hp_memstats *last) {
  struct hp_memstats now;
  ha_stats_read(&now);
  CHECK(now.Mallocs >= last->Mallocs && now.Frees >= last->Frees && now.Frees <= now.Mallocs,
        "mallocs %lu after %lu, frees %lu after %lu", now.Mallocs, last->Mallocs, now.Frees, last->Frees);
  CHECK(now.HeapAlloc <= now.HeapInuse && now.HeapReleased <= now.HeapIdle, "in use %lu of %lu",
        now.HeapAlloc, now.HeapInuse);
  *last = now;
}

static void *release_again_and_again(void *arg) {
  struct hp_memstats last = {0};
  size_t *bytes = arg;
  for (unsigned round = 0; ha_load_acquire(&running) > 0; round++) {
    ha_release_in_pages(true, 20);
    ha_abandoned_release(true, SIZE_MAX, bytes);
    if (round % 8 == 0) {
      ha_heap_ask_all_to_trim();
    }
    if (round % 64 == 0) {
      hp_free_os_memory();
    }
    check_statistics(&last);
  }
  return NULL;
}

/* Threads end and others begin meanwhile, so pages also come from heaps that close. */
static struct hp_memstats stress(int64_t rate) {
  struct hp_memstats before = begin();
  pthread_t threads[THREADS + 1];
  size_t bytes = 0;
  hp_set_mem_profile_rate(rate);
  ha_store_release(&running, THREADS * GENERATIONS);
  for (int i = 0; i < THREADS * GENERATIONS; i++) {
    if (i >= THREADS) {
      pthread_join(threads[i % THREADS], NULL);
    }
    pthread_create(&threads[i % THREADS], NULL, exchange_blocks, (void *)(uintptr_t)i);
    if (i == 0) {
      pthread_create(&threads[THREADS], NULL, release_again_and_again, &bytes);
    }
  }
  for (int i = 0; i <= THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  for (size_t i = 0; i < SLOTS; i++) {
    exchange(i, NULL);
  }
  test_note("seed %d, rate %ld: %zu MiB given back in pages", SEED, rate, bytes >> 20);
  CHECK(bytes > 0, "nothing was given back");
  return before;
}

TEST_WITHIN(120, memory_is_given_back_while_threads_free_each_others_blocks) {
  struct hp_memstats before = stress(0);
  check_nothing_left(&before);
}

/* Pages of samples are among the others, and are not to be looked into. */
TEST_WITHIN(120, memory_is_given_back_while_threads_free_each_others_samples) {
  struct hp_memstats before = stress(4096);
  CHECK_EQ(at_rest().HeapAlloc, before.HeapAlloc);
}
