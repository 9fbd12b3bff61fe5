/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: memory of one thread that no other can use again, a heap that grows although
 * as much is freed as allocated, counts that are not exact.
 */
#include <pthread.h>
#include <stdlib.h>

#include "alloc/heap.h"
#include "alloc/heap_pool.h"
#include "alloc/limit.h"
#include "alloc/page_map.h"
#include "alloc/stats.h"
#include "sampler/interval.h"
#include "sampler/rule_cache.h"
#include "sampler/sample.h"
#include "tests/test.h"

#define BLOCKS 20000
#define SIZE 200

static void *blocks[BLOCKS];

static struct hp_memstats stats(void) {
  struct hp_memstats now;
  ha_stats_read(&now);
  return now;
}

static void allocate(void) {
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = malloc(SIZE);
    CHECK(blocks[i] != NULL, "no memory");
  }
}

static void release(void) {
  for (int i = 0; i < BLOCKS; i++) {
    free(blocks[i]);
  }
}

static void *allocate_in_thread(void *arg) {
  allocate();
  return arg;
}

static void *release_in_thread(void *arg) {
  release();
  return arg;
}

static void in_thread(void *(*run)(void *)) {
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, run, NULL), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(local_frees_are_used_again) {
  hp_set_mem_profile_rate(0);
  allocate();
  uint64_t inuse = stats().HeapInuse;
  for (int round = 0; round < 20; round++) {
    release();
    allocate();
  }
  CHECK(stats().HeapInuse <= inuse + HA_SLICE, "in use grew from %lu to %lu", inuse, stats().HeapInuse);
}

TEST(empty_pages_go_back_to_the_arena) {
  hp_set_mem_profile_rate(0);
  uint64_t before = stats().HeapInuse;
  allocate();
  CHECK(stats().HeapInuse >= before + (uint64_t)BLOCKS * SIZE, "pages are not in use");
  release();
  CHECK(stats().HeapInuse <= before + 2 * HA_SLICE, "%lu bytes stay in use", stats().HeapInuse - before);
}

/* Also when nothing is sampled any more: a large block may need the space. */
TEST(empty_pages_of_samples_go_back_to_the_arena) {
  hp_set_mem_profile_rate(1);
  uint64_t before = stats().HeapInuse;
  allocate();
  release();
  uint64_t kept = stats().HeapInuse - before;
  CHECK(kept <= 4 * HA_SLICE, "%lu bytes stay in use although nothing is", kept);
}

TEST(frees_of_another_thread_are_used_again) {
  hp_set_mem_profile_rate(0);
  allocate();
  uint64_t inuse = stats().HeapInuse;
  for (int round = 0; round < 20; round++) {
    in_thread(release_in_thread);
    allocate();
  }
  CHECK(stats().HeapInuse <= inuse + 4 * HA_SLICE, "in use grew from %lu to %lu", inuse, stats().HeapInuse);
}

/* Each ended thread leaves its blocks, which the main thread frees: what they took must serve the next. */
TEST(blocks_of_ended_threads_can_be_freed_and_their_memory_serves_again) {
  hp_set_mem_profile_rate(0);
  in_thread(allocate_in_thread);
  uint64_t inuse = stats().HeapInuse;
  for (int round = 0; round < 20; round++) {
    release();
    in_thread(allocate_in_thread);
  }
  CHECK(stats().HeapInuse <= inuse + 4 * HA_SLICE, "in use grew from %lu to %lu", inuse, stats().HeapInuse);
}

/* No further thread is started: the main thread itself takes over what was left with free blocks in it. */
TEST(pages_of_an_ended_thread_serve_a_living_one) {
  hp_set_mem_profile_rate(0);
  in_thread(allocate_in_thread);
  for (int i = 0; i < BLOCKS; i += 2) {
    free(blocks[i]);
  }
  uint64_t inuse = stats().HeapInuse;
  for (int i = 0; i < BLOCKS; i += 2) {
    blocks[i] = malloc(SIZE);
  }
  CHECK(stats().HeapInuse <= inuse + HA_SLICE, "in use grew from %lu to %lu", inuse, stats().HeapInuse);
}

TEST(heaps_of_ended_threads_serve_the_next) {
  in_thread(allocate_in_thread);
  uint64_t heaps = stats().MCacheSys;
  for (int i = 0; i < 50; i++) {
    in_thread(release_in_thread);
    in_thread(allocate_in_thread);
  }
  CHECK_EQ(stats().MCacheSys, heaps);
  CHECK_EQ(stats().Threads, (uint64_t)1);
}

static void check_counts(int64_t rate) {
  hp_set_mem_profile_rate(rate);
  struct hp_memstats before = stats();
  allocate();
  struct hp_memstats full = stats();
  CHECK_EQ(full.Mallocs - before.Mallocs, (uint64_t)BLOCKS);
  CHECK_EQ(full.Frees, before.Frees);
  CHECK_EQ(full.HeapAlloc - before.HeapAlloc, (uint64_t)BLOCKS * ha_class_size(ha_class_of(SIZE)));
  release();
  struct hp_memstats after = stats();
  CHECK_EQ(after.Frees - before.Frees, (uint64_t)BLOCKS);
  CHECK_EQ(after.HeapAlloc, before.HeapAlloc);
}

TEST(counts_are_exact_at_every_rate) {
  check_counts(0);
  check_counts(1);
  check_counts(4096);
  check_counts(512 * 1024);
}

TEST(borrowed_heaps_are_had_alone) {
  struct ha_heap *heaps[200];
  for (int i = 0; i < 200; i++) {
    heaps[i] = ha_heap_borrow();
    CHECK(heaps[i] != NULL && heaps[i]->is_borrowed, "heap %d", i);
    for (int k = 0; k < i; k++) {
      CHECK(heaps[k] != heaps[i], "heap %d was lent twice", i);
    }
  }
  uint64_t bytes = stats().MCacheSys;
  for (int i = 0; i < 200; i++) {
    ha_heap_return(heaps[i]);
  }
  for (int i = 0; i < 200; i++) {
    ha_heap_borrow();
  }
  CHECK_EQ(stats().MCacheSys, bytes);
}

TEST(sampled_blocks_have_the_size_of_their_class) {
  for (size_t size = 1; size <= HA_MEDIUM_MAX; size += size / 7 + 1) {
    hp_set_mem_profile_rate(0);
    void *plain = malloc(size);
    hp_set_mem_profile_rate(1);
    void *sampled = malloc(size);
    CHECK(ha_page_of(sampled)->is_sampled && !ha_page_of(plain)->is_sampled,
          "size %zu: the rate does not hold", size);
    CHECK_EQ(ha_page_of(sampled)->block_size, ha_page_of(plain)->block_size);
    free(plain);
    free(sampled);
  }
}

/* The walkers of others may allocate: libgcc's does where code was registered at run time. Then memory is short. */
static struct ha_rule allocate_in_walk(uintptr_t pc) {
  (void)pc;
  free(malloc(SIZE));
  ha_store_relaxed(&ha_limit_bytes, 1);
  return (struct ha_rule){.kind = HA_RULE_LAST};
}

TEST(a_walk_may_allocate_although_its_sample_then_fails) {
  hp_set_mem_profile_rate(4096);
  ha_rules_resolve_with(allocate_in_walk);
  ha_limit_is_hard = true;
  struct hp_memstats before = stats();
  int count = 0;
  for (int i = 0; i < BLOCKS; i++) {
    ha_store_relaxed(&ha_limit_bytes, HA_LIMIT_NONE);
    ha_rules_forget(); /* so that the next walk asks */
    blocks[i] = malloc(SIZE);
    if (blocks[i] != NULL) {
      memset(blocks[i], i % 251, SIZE);
      count++;
    }
  }
  ha_store_relaxed(&ha_limit_bytes, HA_LIMIT_NONE);
  CHECK(ha_samples_dropped(HA_DROP_NO_MEMORY) > 0, "no sample failed");
  CHECK_EQ(stats().HeapObjects, before.HeapObjects + (uint64_t)count);
  for (int i = 0; i < BLOCKS; i++) {
    const char *block = blocks[i];
    CHECK(block == NULL || (block[0] == (char)(i % 251) && block[SIZE - 1] == block[0]),
          "block %d has changed", i);
  }
  release();
  CHECK_EQ(stats().HeapObjects, before.HeapObjects);
}
