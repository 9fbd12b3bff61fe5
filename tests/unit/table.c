/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: samples of one place counted under another, a leak that stays in the profile
 * after it was freed, samples lost in silence when the tables are full.
 */
#include <pthread.h>

#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/sample.h"
#include "sampler/table.h"
#include "tests/test.h"

#define THREADS 8
#define KEYS 500
#define SEED 20240610

static const struct ha_stack *stack_of(uintptr_t number) {
  uintptr_t frames[2] = {0x400000 + number * 16, 0x500000};
  return ha_stack_intern(frames, 2);
}

static void count_entry(struct ha_entry *entry, void *count) {
  (void)entry;
  ++*(unsigned *)count;
}

static unsigned entries(void) {
  unsigned count = 0;
  ha_table_visit(count_entry, &count);
  return count;
}

static void fill_region(void) {
  while (ha_table_memory(1024 * 1024) != NULL || ha_table_memory(16) != NULL) {
  }
}

TEST(each_part_of_the_key_makes_an_entry) {
  const struct ha_stack *stack = stack_of(1);
  struct ha_entry *entry = ha_table_entry(stack, 3, 0, 0);
  CHECK_EQ(ha_table_entry(stack, 3, 0, 0), entry);
  CHECK(ha_table_entry(stack_of(2), 3, 0, 0) != entry, "the stack makes no difference");
  CHECK(ha_table_entry(stack, 4, 0, 0) != entry, "the size class makes no difference");
  CHECK(ha_table_entry(stack, 3, 1, 0) != entry, "the label set makes no difference");
  CHECK_EQ(entries(), 5u); /* and the overflow entry */
}

TEST(no_stack_means_the_overflow_entry) {
  CHECK(ha_table_is_overflow(ha_table_entry(NULL, 3, 0, 0)),
        "a sample without a stack has an entry of its own");
}

TEST(a_full_table_counts_on_the_overflow_entry_and_says_so) {
  struct ha_entry *old = ha_table_entry(stack_of(1), 3, 0, 0);
  fill_region();
  CHECK_EQ(ha_table_entry(stack_of(1), 3, 0, 0), old);
  struct ha_sample sample = {0};
  for (uintptr_t i = 2; i < 102; i++) {
    struct ha_entry *entry = ha_table_entry(stack_of(i), 3, 0, 0);
    CHECK(ha_table_is_overflow(entry), "a full table made an entry");
    ha_sample_record(&sample, entry, 64, 60, 1);
  }
  struct ha_heap_totals totals = ha_heap_totals();
  CHECK_EQ(totals.overflow_samples, (uint64_t)100);
  CHECK_EQ(totals.sampled[0], (int64_t)100);
  CHECK_EQ(totals.values[3], (int64_t)6400);
}

TEST(a_site_is_found_even_when_the_table_is_full) {
  fill_region();
  CHECK(ha_table_is_overflow(ha_sample_site(3, 0)), "the calling stack is not counted on the overflow entry");
}

/* Whatever weights and sizes, a free takes away exactly what its allocation added. */
TEST(retiring_cancels_recording_exactly) {
  static struct ha_sample samples[3000];
  static size_t sizes[3000];
  const int64_t rates[] = {1, 100, 4096, 524288, 1000003, HA_RATE_MAX};
  uint64_t random = SEED;
  for (int i = 0; i < 3000; i++) {
    sizes[i] = 16 + test_random(&random) % 200000;
    struct ha_entry *entry = ha_table_entry(stack_of(test_random(&random) % 50), 3, 0, 0);
    ha_sample_record(&samples[i], entry, sizes[i], sizes[i], rates[test_random(&random) % 6]);
  }
  for (int i = 0; i < 3000; i++) {
    CHECK(ha_sample_retire(&samples[i], NULL, sizes[i]), "sample %d is not live", i);
  }
  struct ha_heap_totals totals = ha_heap_totals();
  CHECK_EQ(totals.sampled[0], (int64_t)3000);
  CHECK_EQ(totals.sampled[2], (int64_t)0);
  CHECK_EQ(totals.sampled[3], (int64_t)0);
  CHECK_EQ(totals.values[2], (int64_t)0);
  CHECK_EQ(totals.values[3], (int64_t)0);
}

TEST(retiring_twice_is_told) {
  struct ha_sample sample = {0};
  CHECK(!ha_sample_retire(&sample, NULL, 64), "a sample that never was is live");
  ha_sample_record(&sample, ha_table_entry(stack_of(1), 3, 0, 0), 64, 64, 1);
  CHECK(ha_sample_retire(&sample, NULL, 64), "a live sample is not");
  CHECK(!ha_sample_retire(&sample, NULL, 64), "a retired sample is live");
}

TEST(uncounted_samples_live_and_die_without_a_trace) {
  struct ha_sample sample = {0};
  ha_sample_mark_uncounted(&sample);
  CHECK(ha_sample_retire(&sample, NULL, 64), "it is not live");
  CHECK(!ha_sample_retire(&sample, NULL, 64), "it is live twice");
  CHECK_EQ(ha_heap_totals().sampled[0], (int64_t)0);
}

static struct ha_entry *found[THREADS][KEYS];

static void *count_samples(void *arg) {
  size_t thread = (size_t)arg;
  for (unsigned i = 0; i < KEYS; i++) {
    found[thread][i] = ha_table_entry(stack_of(i), i % 7, 0, 0);
    struct ha_sample sample = {0};
    ha_sample_record(&sample, found[thread][i], 128, 128, 1);
    if (i % 2 == 0) {
      ha_sample_retire(&sample, NULL, 128);
    }
  }
  return NULL;
}

TEST(eight_threads_lose_no_count) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, count_samples, (void *)i);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  struct ha_heap_totals totals = ha_heap_totals();
  CHECK_EQ(totals.sampled[0], (int64_t)THREADS * KEYS);
  CHECK_EQ(totals.values[1], (int64_t)THREADS * KEYS * 128);
  CHECK_EQ(totals.sampled[2], (int64_t)THREADS * KEYS / 2);
  for (int i = 0; i < KEYS; i++) {
    CHECK(found[1][i] == found[0][i], "key %d has two entries", i);
  }
}

static void check_row(const struct ha_row *row, void *rows) {
  CHECK_EQ(row->frame_count, 2u);
  CHECK_EQ(row->frames[1], (uintptr_t)0x500000);
  CHECK_EQ(row->block_size, (uint64_t)(row->frames[0] == 0x400010 ? 64 : 4096));
  ++*(int *)rows;
}

TEST(the_profile_has_a_row_per_entry_and_no_empty_ones) {
  struct ha_profile profile;
  struct ha_sample samples[2] = {{0}, {0}};
  ha_sample_record(&samples[0], ha_table_entry(stack_of(1), 3, 0, 0), 64, 64, 1);
  ha_sample_record(&samples[1], ha_table_entry(stack_of(2), 40, 0, 0), 4096, 4096, 1);
  ha_table_entry(stack_of(3), 3, 0, 0);
  ha_heap_profile(&profile, "heap", NULL);
  CHECK_EQ(profile.type_count, 4u);
  int rows = 0;
  profile.visit(&profile, check_row, &rows);
  CHECK_EQ(rows, 2);
}

static void check_name(const struct ha_row *row, void *seen) {
  CHECK_EQ(row->block_size, (uint64_t)147456);
  *(bool *)seen = true;
}

/* Readers tell rows of two profiles apart by it. */
TEST(a_row_of_blocks_of_several_sizes_keeps_its_size) {
  const size_t sizes[] = {131073, 147456, 140000}; /* of the class that ends at 144 KiB */
  struct ha_profile profile;
  struct ha_sample samples[3] = {{0}, {0}, {0}};
  ha_heap_profile(&profile, "heap", NULL);
  for (int i = 0; i < 3; i++) {
    ha_sample_record(&samples[i], ha_table_entry(stack_of(1), 90, 0, 0), sizes[i], sizes[i], 1);
    bool seen = false;
    profile.visit(&profile, check_name, &seen);
    CHECK(seen, "there is no row");
  }
}
