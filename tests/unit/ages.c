/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a profile whose rows do not add up to what is in use, a block that looks younger or
 * older than it is, a leak since a mark that is missed or one that was there before and is reported.
 */
#include "sampler/ages.h"

#include <stdlib.h>

#include "base/clock.h"
#include "labels/set.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/since_mark.h"
#include "sampler/table.h"
#include "tests/test.h"

#define SEED 20261121
#define SAMPLES 4000
#define ENTRIES 60

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

static void *alloc(const void *source, size_t size) {
  (void)source;
  return calloc(1, size);
}

static const struct ha_memory memory = {alloc, NULL};

static struct ha_entry *entry_of(uintptr_t number, size_t block_size) {
  uintptr_t frames[2] = {0x400000 + number * 16, 0x500000};
  return ha_table_entry(ha_stack_intern(frames, 2), 3, 0, block_size);
}

static void record(struct ha_sample *sample, struct ha_entry *entry, size_t size, size_t requested,
                   int64_t rate, uint32_t age) {
  ha_sample_record(sample, entry, size, requested, rate);
  sample->born -= age;
}

/* ---- rows of one site ---- */

struct seen {
  int rows;
  struct ha_row row[20];
};

static void keep(const struct ha_row *row, void *arg) {
  struct seen *seen = arg;
  seen->row[seen->rows++] = *row;
}

static struct seen rows_of(const struct ha_ages *ages) {
  struct seen seen = {0, {{0}}};
  struct ha_profile profile;
  ha_heap_profile(&profile, "heap", ages);
  profile.visit(&profile, keep, &seen);
  return seen;
}

static int64_t number(const struct ha_row *row, const char *key) {
  for (uint32_t i = 0; i < row->number_count; i++) {
    if (strcmp(row->numbers[i].key, key) == 0) {
      return row->numbers[i].value;
    }
  }
  return -1;
}

TEST(each_age_has_a_row_with_what_was_asked_for) {
  struct ha_sample samples[5] = {{0}};
  struct ha_entry *entry = entry_of(1, 112);
  record(&samples[0], entry, 112, 100, 1, 0);
  record(&samples[1], entry, 112, 104, 1, 30 * HA_TICKS_PER_SECOND);
  record(&samples[2], entry, 112, 110, 1, 30 * HA_TICKS_PER_SECOND);
  record(&samples[3], entry, 112, 112, 1, 100000 * HA_TICKS_PER_SECOND);
  record(&samples[4], entry, 112, 97, 1, 0);
  ha_sample_retire(&samples[4], NULL, 112);
  struct ha_ages ages;
  ha_ages_begin(&ages, NULL, memory);
  for (int i = 0; i < 4; i++) {
    ha_ages_add(&samples[i], 112, &ages);
  }
  struct seen seen = rows_of(&ages);
  CHECK_EQ(seen.rows, 4);
  /* What was allocated looks the same in each profile. */
  CHECK_EQ(seen.row[0].values[ALLOC_OBJECTS], (int64_t)5);
  CHECK_EQ(seen.row[0].values[INUSE_OBJECTS], (int64_t)0);
  CHECK_EQ(seen.row[0].number_count, 0u);
  CHECK_EQ(seen.row[0].block_size, (uint64_t)112);
  static const int64_t expected[3][3] = {{86400, 1, 112}, {10, 2, 107}, {0, 1, 100}};
  for (int i = 0; i < 3; i++) {
    const struct ha_row *row = &seen.row[i + 1];
    CHECK_EQ(number(row, "age"), expected[i][0]);
    CHECK_EQ(row->values[INUSE_OBJECTS], expected[i][1]);
    CHECK_EQ(row->values[INUSE_SPACE], expected[i][1] * 112);
    CHECK_EQ(number(row, "request"), expected[i][2]);
    CHECK_EQ(row->values[ALLOC_SPACE], (int64_t)0);
  }
}

/* Of the only row that has one. */
static int64_t live_age(const struct seen *seen) {
  int64_t age = -1;
  for (int i = 0; i < seen->rows; i++) {
    int64_t found = number(&seen->row[i], "age");
    CHECK(found == -1 || age == -1, "two rows with ages");
    age = found != -1 ? found : age;
  }
  return age;
}

/* The lower bound of an age is one: a block is never shown older than it is. */
TEST(no_block_looks_older_than_it_is) {
  static const struct {
    uint32_t ticks;
    int64_t age;
  } cases[] = {{0, 0},          {64, 0},         {65, 1},          {640, 1},
               {641, 10},       {3841, 60},      {38400, 60},      {38401, 600},
               {230401, 3600},  {5529600, 3600}, {5529601, 86400}, {0xefffffff, 86400},
               {0xffffffff, 0}, {0xfffffff0, 0} /* born after the walk began */};
  for (unsigned i = 0; i < HA_ARRAY_LEN(cases); i++) {
    struct ha_sample sample = {0};
    struct ha_entry *entry = entry_of(i, 64);
    struct ha_ages ages;
    ha_ages_begin(&ages, NULL, memory);
    record(&sample, entry, 64, 64, 1, 0);
    sample.born = ages.now - cases[i].ticks;
    ha_ages_add(&sample, 64, &ages);
    struct seen seen = rows_of(&ages);
    CHECK_EQ(live_age(&seen), cases[i].age);
    ha_sample_retire(&sample, NULL, 64);
    struct ha_counts sum = ha_ages_sum(&ages, entry);
    CHECK_EQ(sum.objects, HA_WEIGHT_ONE);
  }
}

/* ---- all rows ---- */

struct totals {
  int64_t values[4];
};

static void add_row(const struct ha_row *row, void *arg) {
  struct totals *totals = arg;
  for (int i = 0; i < 4; i++) {
    CHECK(row->values[i] >= 0, "a value of %ld", (long)row->values[i]);
    totals->values[i] += row->values[i];
  }
  int64_t request = number(row, "request");
  CHECK(request <= (int64_t)row->block_size, "%ld of %ld bytes asked for", (long)request,
        (long)row->block_size);
}

static struct totals totals_of(const struct ha_ages *ages) {
  struct totals totals = {{0}};
  struct ha_profile profile;
  ha_heap_profile(&profile, "heap", ages);
  profile.visit(&profile, add_row, &totals);
  return totals;
}

/* Whatever the walk has missed of what the counters know, or seen that they do not know any more. */
TEST(rows_add_up_to_the_counters_whatever_the_walk_saw) {
  static struct ha_sample samples[SAMPLES];
  static size_t sizes[SAMPLES];
  static const int64_t rates[] = {1, 100, 4096, 524288};
  uint64_t random = SEED;
  test_note("seed %d", SEED);
  for (int i = 0; i < SAMPLES; i++) {
    size_t number = test_random(&random) % ENTRIES;
    bool is_mixed = number % 3 == 0;
    sizes[i] = is_mixed ? 200000 + test_random(&random) % 20000 : 16 * (number + 1);
    record(&samples[i], entry_of(number, is_mixed ? 0 : sizes[i]), sizes[i],
           sizes[i] - test_random(&random) % 16, rates[test_random(&random) % 4],
           (uint32_t)(test_random(&random) >> (36 + test_random(&random) % 28)));
  }
  for (int round = 0; round < 20; round++) {
    struct ha_ages ages;
    ha_ages_begin(&ages, NULL, memory);
    for (int i = 0; i < SAMPLES; i++) {
      bool is_live = samples[i].entry != NULL;
      if (is_live && (round == 0 || test_random(&random) % 8 != 0)) {
        ha_ages_add(&samples[i], sizes[i], &ages);
      }
      if (is_live && round > 0 && test_random(&random) % 16 == 0) {
        ha_sample_retire(&samples[i], NULL, sizes[i]);
      }
    }
    struct totals split = totals_of(&ages), whole = totals_of(NULL);
    for (int i = 0; i < 4; i++) {
      CHECK_EQ(split.values[i], whole.values[i]);
    }
  }
}

/* ---- marks ---- */

TEST(numbers_of_marks_that_look_the_same_are_told_apart) {
  const struct ha_mark mark = {256 + 5, 1000000};
  const uint32_t now = 1001000;
  CHECK(ha_mark_is_since(&mark, now, 5, 1000000), "a sample at the mark is not since");
  CHECK(ha_mark_is_since(&mark, now, 5 | 77 << 8, 1000500), "a sample behind the mark is not since");
  CHECK(ha_mark_is_since(&mark, now, 5, 1001003), "a sample during the walk is not since");
  CHECK(!ha_mark_is_since(&mark, now, 4, 1000500), "a sample of the mark before is since");
  CHECK(!ha_mark_is_since(&mark, now, 5, 999999), "a sample of 256 marks before is since");
  CHECK(!ha_mark_is_since(&mark, now, 5, now - 0xe0000000), "a sample of 681 days before is since");
  const struct ha_mark wrapped = {5, 0xffffff00};
  CHECK(ha_mark_is_since(&wrapped, 100, 5, 50), "not since, when the clock has wrapped");
  CHECK(!ha_mark_is_since(&wrapped, 100, 5, 0xfffffef0), "since, when the clock has wrapped");
}

TEST(without_a_mark_all_is_since) {
  struct ha_mark mark = ha_mark_last();
  CHECK_EQ(mark.number, 0u);
  CHECK(ha_mark_is_since(&mark, 7, 0, 0xfff00000), "an old sample is not since the start");
}

static void sum_row(const struct ha_row *row, void *arg) {
  struct totals *totals = arg;
  CHECK(number(row, "age") >= 0, "a row without age");
  totals->values[0] += row->values[0];
  totals->values[1] += row->values[1];
}

TEST(what_was_taken_before_the_mark_is_not_in_its_profile) {
  struct ha_sample samples[40] = {{0}};
  for (unsigned i = 0; i < 40; i++) {
    if (i == 30) {
      CHECK_EQ(ha_mark_set(), 1u);
    }
    record(&samples[i], entry_of(i % 4, 64), 64, 64, 1, 0);
  }
  struct ha_ages ages;
  struct ha_mark mark = ha_mark_last();
  ha_ages_begin(&ages, &mark, memory);
  for (int i = 0; i < 40; i++) {
    ha_ages_add(&samples[i], 64, &ages);
  }
  struct totals totals = {{0}};
  struct ha_profile profile;
  ha_since_mark_profile(&profile, "since_mark", &ages);
  CHECK_EQ(profile.type_count, 2u);
  profile.visit(&profile, sum_row, &totals);
  CHECK_EQ(totals.values[0], (int64_t)10);
  CHECK_EQ(totals.values[1], (int64_t)640);
}

/* ---- memory ---- */

static void *alloc_few(const void *source, size_t size) {
  static int left = 3;
  (void)source;
  return left-- > 0 ? calloc(1, size) : NULL;
}

TEST(too_little_memory_is_told) {
  static struct ha_sample samples[3000];
  struct ha_ages ages;
  ha_ages_begin(&ages, NULL, (struct ha_memory){alloc_few, NULL});
  for (unsigned i = 0; i < 3000; i++) {
    record(&samples[i], entry_of(i, 64), 64, 64, 1, 0);
    ha_ages_add(&samples[i], 64, &ages);
  }
  CHECK(ages.is_out_of_memory, "3000 cells in two pieces of 1024");
}
