/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a live block that is in no walk or twice in one, a crash because a record was freed
 * and used for something else while it was read, a block under the wrong size.
 */
#include "alloc/live.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "alloc/page_map.h"
#include "alloc/sampled.h"
#include "alloc/size_class.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "labels/context.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/mark.h"
#include "tests/test.h"

#define BLOCKS 6000
#define SEED 20261121

static void *blocks[BLOCKS];

struct sums {
  uint64_t samples, bytes, requested, weights;
};

static void add(const struct ha_sample *sample, size_t block_size, void *arg) {
  struct sums *sums = arg;
  sums->samples++;
  sums->bytes += block_size;
  sums->requested += block_size - (sample->slack_and_mark >> HA_SAMPLE_MARK_BITS);
  sums->weights += sample->weight;
}

static struct sums walk(void) {
  struct sums sums = {0};
  ha_live_visit(add, &sums);
  return sums;
}

static size_t some_size(uint64_t *random) {
  static const size_t largest[] = {100, 1000, 20000, 130000, 400000};
  return test_random(random) % largest[test_random(random) % 5];
}

TEST(every_live_sample_is_visited_once) {
  uint64_t random = SEED;
  size_t requested = 0, usable = 0, count = 0;
  struct sums before = walk();
  hp_set_mem_profile_rate(1);
  for (int i = 0; i < BLOCKS; i++) {
    size_t size = some_size(&random);
    blocks[i] = i % 50 != 0 ? malloc(size) : memalign(4096, size);
    if (i % 3 != 0) {
      requested += size;
      usable += malloc_usable_size(blocks[i]);
      count++;
    }
  }
  void *huge = malloc(40000000);
  for (int i = 0; i < BLOCKS; i += 3) {
    free(blocks[i]);
  }
  struct sums after = walk();
  CHECK_EQ(after.samples - before.samples, (uint64_t)count + 1);
  CHECK_EQ(after.bytes - before.bytes, (uint64_t)usable + malloc_usable_size(huge));
  CHECK_EQ(after.requested - before.requested, (uint64_t)requested + 40000000);
  CHECK_EQ(after.samples, (uint64_t)ha_heap_totals().sampled[2]);
  CHECK_EQ(after.bytes, (uint64_t)ha_heap_totals().sampled[3]);
}

TEST(weights_are_those_of_the_counters) {
  uint64_t random = SEED;
  hp_set_mem_profile_rate(20000);
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = malloc(some_size(&random));
  }
  for (int i = 0; i < BLOCKS; i += 2) {
    free(blocks[i]);
  }
  struct sums sums = walk();
  /* Each row of the heap profile is rounded. */
  int64_t difference = ha_weight_whole(sums.weights) - ha_heap_totals().values[2];
  CHECK(sums.samples > 100, "only %lu samples", sums.samples);
  CHECK(difference > -200 && difference < 200, "%ld objects off", (long)difference);
}

static void find_stamps(const struct ha_sample *sample, size_t block_size, void *found) {
  if (block_size == ha_class_size(ha_class_of(70001))) {
    *(struct ha_sample *)found = *sample;
  }
}

TEST(a_sample_knows_what_was_asked_and_when) {
  hp_set_mem_profile_rate(1);
  ha_mark_set();
  uint32_t number = ha_mark_set();
  uint32_t before = ha_clock_ticks();
  blocks[0] = malloc(70001);
  struct ha_sample found = {0};
  ha_live_visit(find_stamps, &found);
  CHECK_EQ(found.slack_and_mark >> HA_SAMPLE_MARK_BITS, (uint32_t)malloc_usable_size(blocks[0]) - 70001);
  CHECK_EQ(found.slack_and_mark & 255, number);
  CHECK(ha_ticks_between(before, found.born) <= ha_ticks_between(before, ha_clock_ticks()),
        "born %u ticks after the test began", found.born - before);
}

/* The moment in which records are used for something else is too short for a test to meet. */
TEST(readers_of_records_are_told_when_they_go) {
  struct ha_page page = {.capacity = 100};
  CHECK(ha_sampled_page_prepare(&page), "no memory");
  uint32_t version = page.version;
  ha_sampled_page_done(&page);
  CHECK_EQ(page.version, version + 2);
  hp_set_mem_profile_rate(1);
  blocks[0] = malloc(300000);
  const struct ha_page *large = ha_page_of(blocks[0]);
  version = large->version;
  free(blocks[0]);
  CHECK_EQ(large->version, version + 2);
}

/* ---- amid churn ---- */

#define THREADS 4
#define KEPT 1000
#define KEPT_SIZE 5000
#define KEPT_LARGE 150000
#define WALKS 2000
#define TURNS 200000

static bool is_over;   /* atomic */
static uint64_t turns; /* atomic */

static void *churn(void *arg) {
  uint64_t random = SEED + (uintptr_t)arg;
  void *own[64] = {NULL};
  while (!ha_load_relaxed(&is_over)) {
    void **block = &own[test_random(&random) % 64];
    free(*block);
    *block = malloc(some_size(&random));
    ha_add_relaxed(&turns, 1);
    if (test_random(&random) % 256 == 0) {
      for (int i = 0; i < 64; i++) { /* pages of samples become empty and go back */
        free(own[i]);
        own[i] = NULL;
      }
    }
  }
  return NULL;
}

struct checks {
  uint64_t kept, kept_large;
};

static void check(const struct ha_sample *sample, size_t block_size, void *arg) {
  struct checks *checks = arg;
  const struct ha_entry *entry = sample->entry;
  CHECK(entry->block_size == 0 || entry->block_size == block_size, "a sample of %lu bytes in an entry of %lu",
        block_size, (unsigned long)entry->block_size);
  CHECK(entry->stack->frame_count > 0 && sample->weight >= HA_WEIGHT_ONE, "no sample at all");
  CHECK(entry->size_class == ha_class_of(block_size), "a block of %lu bytes is of class %u", block_size,
        entry->size_class);
  checks->kept += entry->label_set == 77 && block_size < KEPT_LARGE;
  checks->kept_large += entry->label_set == 77 && block_size >= KEPT_LARGE;
}

/* What lives throughout is there each time; whatever else is there is a sample. */
TEST_WITHIN(120, a_walk_amid_churn_meets_samples_only_and_all_that_stay) {
  pthread_t threads[THREADS];
  hp_set_mem_profile_rate(1);
  ha_labels_id = 77; /* no set of that id exists, and none is needed */
  for (int i = 0; i < KEPT; i++) {
    blocks[i] = malloc(i % 10 != 0 ? KEPT_SIZE : KEPT_LARGE);
  }
  ha_labels_id = 0;
  for (uintptr_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, churn, (void *)i);
  }
  for (int i = 0; i < WALKS || ha_load_relaxed(&turns) < TURNS; i++) {
    struct checks checks = {0};
    ha_live_visit(check, &checks);
    CHECK_EQ(checks.kept, (uint64_t)KEPT - KEPT / 10);
    CHECK_EQ(checks.kept_large, (uint64_t)KEPT / 10);
  }
  test_note("%d walks, %lu mallocs meanwhile", WALKS, ha_load_relaxed(&turns));
  ha_store_relaxed(&is_over, true);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}
