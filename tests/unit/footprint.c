/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a profile of resident memory whose live, free and idle parts are not what the program
 * has, or do not add up to what the kernel sees.
 */
#include "alloc/footprint.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/meta.h"
#include "base/os.h"
#include "base/own_mappings.h"
#include "base/region.h"
#include "sampler/interval.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define SMALL_BLOCKS 20000
#define THREADS 4

static struct ha_footprint before, now;
static char *blocks[SMALL_BLOCKS];

struct large_sum {
  double blocks, resident;
  uint64_t count;
};

static void add_large(const struct ha_entry *entry, double weight, uint64_t block_size, uint64_t resident,
                      void *arg) {
  struct large_sum *sum = arg;
  CHECK(entry->stack->frame_count > 0 && resident <= block_size, "a sample of %lu bytes has %lu resident",
        block_size, resident);
  sum->blocks += weight;
  sum->resident += weight * (double)resident;
  sum->count++;
}

static void read_footprint(struct ha_footprint *footprint) {
  struct large_sum sum = {0, 0, 0};
  ha_footprint_read(footprint, add_large, &sum);
}

static int64_t grown(uint64_t from, uint64_t to) {
  return (int64_t)(to - from);
}

static void check_near(const char *what, int64_t value, int64_t expected, int64_t tolerance) {
  CHECK(llabs(value - expected) <= tolerance, "%s: %ld bytes, expected %ld", what, (long)value,
        (long)expected);
}

static void add_resident(const char *start, size_t size, void *sum) {
  size_t pages;
  CHECK(ha_os_count_resident(start, size, &pages), "the kernel does not tell");
  *(uint64_t *)sum += pages * HA_OS_PAGE;
}

TEST(a_large_block_counts_as_far_as_it_was_written_to) {
  unsigned size_class = ha_footprint_class(4 * MIB);
  read_footprint(&before);
  char *block = malloc(4 * MIB);
  char *huge = malloc(64 * MIB);
  for (size_t at = 0; at < MIB; at += HA_OS_PAGE) {
    block[at] = huge[at + 8 * MIB] = 1;
  }
  read_footprint(&now);
  CHECK_EQ(grown(before.live[size_class], now.live[size_class]), (int64_t)MIB);
  CHECK_EQ(grown(before.live[ha_footprint_class(64 * MIB)], now.live[ha_footprint_class(64 * MIB)]),
           (int64_t)MIB);
  check_near("blocks", grown(before.blocks, now.blocks), 68 * MIB, 64 * KIB);
  check_near("live", grown(before.live_total, now.live_total), 2 * MIB, 64 * KIB);
  free(block);
  free(huge);
  read_footprint(&now);
  CHECK_EQ(grown(before.live[size_class], now.live[size_class]), (int64_t)0);
  check_near("idle", grown(before.idle, now.idle), MIB, 64 * KIB);
}

/* 128 KiB: what a page that is being filled may have cut ahead, and pages of other classes. */
TEST(small_blocks_are_live_or_free_in_their_pages) {
  ha_rate_set(0);
  unsigned size_class = ha_footprint_class(KIB);
  read_footprint(&before);
  for (int i = 0; i < SMALL_BLOCKS; i++) {
    blocks[i] = memset(malloc(KIB), 1, KIB);
  }
  read_footprint(&now);
  CHECK_EQ(grown(before.live[size_class], now.live[size_class]), (int64_t)(SMALL_BLOCKS * KIB));
  check_near("free", grown(before.free_in_pages, now.free_in_pages), 0, 128 * KIB);
  for (int i = 0; i < SMALL_BLOCKS; i += 2) {
    free(blocks[i]);
  }
  read_footprint(&now);
  CHECK_EQ(grown(before.live[size_class], now.live[size_class]), (int64_t)(SMALL_BLOCKS / 2 * KIB));
  check_near("free", grown(before.free_in_pages, now.free_in_pages), SMALL_BLOCKS / 2 * KIB, 128 * KIB);
}

TEST(the_parts_add_up_to_what_the_kernel_has_in_the_ranges) {
  for (int i = 0; i < 2000; i++) {
    size_t size = (size_t)16 << i % 15;
    blocks[i] = memset(malloc(size), 1, size);
  }
  for (int i = 0; i < 2000; i += 3) {
    free(blocks[i]);
  }
  free(memset(malloc(40 * MIB), 1, 40 * MIB));
  uint64_t resident = 0;
  ha_footprint_ranges(add_resident, &resident);
  read_footprint(&now);
  CHECK_EQ(now.live_total + now.free_in_pages + now.idle, resident);
  CHECK(resident > 16 * MIB, "only %lu bytes are resident", resident);
}

/* Blocks that another thread has freed and still holds in its outbox are free. */
static void *free_some(void *arg) {
  (void)arg;
  free(malloc(100)); /* without a heap there is no outbox */
  for (int i = 0; i < 10; i++) {
    free(blocks[i]);
  }
  read_footprint(&now);
  return NULL;
}

TEST(blocks_in_an_outbox_are_free) {
  ha_rate_set(0);
  unsigned size_class = ha_footprint_class(64);
  for (int i = 0; i < 1000; i++) {
    blocks[i] = malloc(64);
  }
  read_footprint(&before);
  pthread_t thread;
  pthread_create(&thread, NULL, free_some, NULL);
  pthread_join(thread, NULL);
  CHECK_EQ(grown(before.live[size_class], now.live[size_class]), (int64_t)-640);
}

/* At rate 1 every block is a sample of weight 1, so what the samples say is what there is. */
TEST(sampled_large_blocks_are_visited_with_their_own_memory) {
  ha_rate_set(1);
  for (int i = 0; i < 10; i++) {
    blocks[i] = malloc(MIB);
    memset(blocks[i], 1, (size_t)i * 64 * KIB);
  }
  struct large_sum sum = {0, 0, 0};
  ha_footprint_read(&now, add_large, &sum);
  CHECK_EQ(sum.count, (uint64_t)10);
  CHECK(sum.blocks == 10 && sum.resident == 45 * 64 * KIB, "%g blocks with %g bytes", sum.blocks,
        sum.resident);
  ha_rate_set(INT64_C(1) << 40);
  free(blocks[0]);
  blocks[0] = malloc(MIB);
  sum = (struct large_sum){0, 0, 0};
  ha_footprint_read(&now, add_large, &sum);
  CHECK_EQ(sum.count, (uint64_t)9);
}

static pthread_barrier_t barrier;
static const void *found[THREADS + 1];
static int found_count;

static void keep_thread(const void *thread, void *arg) {
  (void)arg;
  CHECK(found_count <= THREADS, "more threads than there are");
  found[found_count++] = thread;
}

static void *have_a_heap(void *top) {
  free(malloc(10));
  *(const void **)top = __builtin_thread_pointer();
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

TEST(threads_with_heaps_are_visited_and_the_main_one_is_not) {
  pthread_t threads[THREADS];
  static const void *tops[THREADS];
  free(malloc(10));
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, have_a_heap, &tops[i]);
  }
  pthread_barrier_wait(&barrier);
  ha_footprint_threads(keep_thread, NULL);
  CHECK_EQ(found_count, THREADS);
  for (int i = 0; i < THREADS; i++) {
    int times = 0;
    for (int k = 0; k < THREADS; k++) {
      times += found[k] == tops[i];
    }
    CHECK_EQ(times, 1);
  }
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  found_count = 0;
  ha_footprint_threads(keep_thread, NULL);
  CHECK_EQ(found_count, 0);
}

struct search {
  const char *address;
  int times;
};

static void look(const char *start, size_t size, void *arg) {
  struct search *search = arg;
  search->times += search->address >= start && search->address < start + size;
}

static void check_is_listed_once(const void *address, const char *what) {
  struct search search = {address, 0};
  ha_own_mappings_visit(look, &search);
  CHECK(search.times == 1, "%s is in %d mappings of our own", what, search.times);
}

TEST(own_memory_of_every_kind_is_listed) {
  static struct ha_region region = HA_REGION_INIT(16 * MIB);
  for (int i = 0; i < 100; i++) {
    check_is_listed_once(ha_meta_alloc(10 * KIB, HA_META_SPANS), "a piece of a chunk");
  }
  check_is_listed_once(ha_meta_alloc(MIB, HA_META_PROFILE), "a piece with a mapping of its own");
  check_is_listed_once(ha_region_alloc(&region, 100), "a region");
  struct search search = {malloc(100), 0};
  ha_own_mappings_visit(look, &search);
  CHECK_EQ(search.times, 0);
}
