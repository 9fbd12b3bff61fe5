/* SPDX-License-Identifier: MIT */
/*
 * The profiles that are read off the entries: lifetimes, delta_heap, fragmentation.
 *
 * What could break a user here: frees that are counted under a lifetime they have not had, allocations that are in two
 * deltas or in none, fragmented bytes that are given out twice or to a site of another size.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "sampler/delta.h"
#include "sampler/fragmentation.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/lifetimes.h"
#include "sampler/sample.h"
#include "tests/test.h"

#define SEED 20261121

static void *alloc(const void *source, size_t size) {
  (void)source;
  return calloc(1, size);
}

static const struct ha_memory memory = {alloc, NULL};

static struct ha_entry *entry_of(uintptr_t number, uint32_t size_class, size_t block_size) {
  uintptr_t frames[2] = {0x400000 + number * 16, 0x500000};
  return ha_table_entry(ha_stack_intern(frames, 2), size_class, 0, block_size);
}

struct seen {
  int rows;
  struct ha_row row[64];
  int64_t sums[4];
};

static void see(const struct ha_row *row, void *arg) {
  struct seen *seen = arg;
  seen->row[seen->rows++ % 64] = *row;
  for (int i = 0; i < 4; i++) {
    CHECK(row->values[i] >= 0, "a value of %ld", (long)row->values[i]);
    seen->sums[i] += row->values[i];
  }
}

static struct seen rows_of(const struct ha_profile *profile) {
  struct seen seen = {0};
  profile->visit(profile, see, &seen);
  return seen;
}

/* ---- lifetimes ---- */

static struct seen lifetimes(void) {
  struct ha_profile profile;
  ha_lifetimes_profile(&profile, "lifetimes");
  CHECK_EQ(profile.type_count, 2u);
  return rows_of(&profile);
}

/* The lower bound is one: a tick more is counted than has passed at most. */
TEST(no_lifetime_looks_longer_than_it_was) {
  static const struct {
    uint32_t ticks;
    int64_t milliseconds;
  } cases[] = {{0, 0},     {1, 0},      {2, 16},      {8, 16},       {9, 125},      {64, 125},
               {65, 1000}, {640, 1000}, {641, 10000}, {3840, 10000}, {3841, 60000}, {0xe0000000, 60000}};
  for (uintptr_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
    bool is_mixed = i % 2 == 0;
    ha_lifetimes_count(entry_of(i, 3, is_mixed ? 0 : 64), cases[i].ticks, 3 * HA_WEIGHT_ONE, 64);
  }
  struct seen seen = lifetimes();
  CHECK_EQ(seen.rows, (int)HA_ARRAY_LEN(cases));
  for (int i = 0; i < seen.rows; i++) {
    size_t number = (seen.row[i].frames[0] - 0x400000) / 16;
    CHECK_EQ(seen.row[i].number_count, 1u);
    CHECK_EQ(seen.row[i].numbers[0].value, cases[number].milliseconds);
    CHECK_EQ(seen.row[i].values[0], (int64_t)3);
    CHECK_EQ(seen.row[i].values[1], (int64_t)192);
    CHECK_EQ(seen.row[i].block_size, (uint64_t)64);
  }
}

TEST(every_freed_sample_has_a_lifetime) {
  static struct ha_sample samples[3000];
  uint64_t random = SEED;
  for (unsigned i = 0; i < 3000; i++) {
    ha_sample_record(&samples[i], entry_of(i % 20, 3, 64), 64, 60, 1);
    samples[i].born -= (uint32_t)(test_random(&random) >> (40 + i % 24));
  }
  for (unsigned i = 0; i < 3000; i += 2) {
    ha_sample_retire(&samples[i], NULL, 64);
  }
  struct seen seen = lifetimes();
  CHECK_EQ(seen.sums[0], (int64_t)1500);
  CHECK_EQ(seen.sums[1], (int64_t)1500 * 64);
}

TEST(without_room_frees_are_shown_without_lifetime) {
  struct ha_sample sample = {0};
  ha_sample_record(&sample, entry_of(1, 3, 64), 64, 60, 1);
  while (ha_table_memory(1024 * 1024) != NULL || ha_table_memory(16) != NULL) {
  }
  ha_sample_retire(&sample, NULL, 64);
  struct seen seen = lifetimes();
  CHECK_EQ(seen.rows, 1);
  CHECK_EQ(seen.sums[0], (int64_t)1);
  CHECK_EQ(seen.row[0].number_count, 0u);
}

/* ---- delta_heap ---- */

static struct ha_delta *open_delta(struct ha_profile *profile) {
  struct ha_delta *delta = calloc(1, sizeof *delta);
  CHECK(ha_delta_gather(delta, memory), "no memory");
  ha_delta_profile(profile, "delta_heap", delta);
  CHECK(profile->duration_nanos > 0, "a delta over no time");
  return delta;
}

/* Deltas add up to what the heap profile says, to the byte, and one that was not complete is in the next. */
TEST(deltas_add_up) {
  static struct ha_sample samples[4000];
  static const int64_t rates[] = {1, 4096, 524288};
  uint64_t random = SEED;
  int64_t sums[4] = {0};
  struct ha_profile profile;
  test_note("seed %d", SEED);
  for (unsigned round = 0; round < 40; round++) {
    for (unsigned i = round * 100; i < (round + 1) * 100; i++) {
      size_t number = test_random(&random) % 30, size = number % 3 == 0 ? 200000 + i * 16 : 16 * (number + 1);
      ha_sample_record(&samples[i], entry_of(number, 3, number % 3 == 0 ? 0 : size), size, size,
                       rates[test_random(&random) % 3]);
      if (i % 2 == 0) {
        ha_sample_retire(&samples[i], NULL, size);
      }
    }
    const struct ha_delta *delta = open_delta(&profile);
    struct seen seen = rows_of(&profile);
    struct ha_heap_totals totals = ha_heap_totals();
    CHECK_EQ(seen.sums[2], totals.values[2]);
    CHECK_EQ(seen.sums[3], totals.values[3]);
    if (round % 3 != 2) { /* the others could not be encoded */
      ha_delta_commit(delta);
      for (int i = 0; i < 2; i++) {
        sums[i] += seen.sums[i];
        CHECK_EQ(sums[i], totals.values[i]);
      }
    }
  }
  ha_delta_commit(open_delta(&profile));
  open_delta(&profile);
  CHECK_EQ(rows_of(&profile).sums[0], (int64_t)0);
}

/* ---- fragmentation ---- */

TEST(free_bytes_go_to_the_sites_of_their_class_by_objects) {
  static struct ha_sample samples[100];
  for (unsigned i = 0; i < 100; i++) { /* class 3: 1 to 3; class 5: one site; class 7: none */
    uint32_t size_class = i < 80 ? 3 : 5;
    size_t size = i < 80 ? 64 : 96;
    ha_sample_record(&samples[i], entry_of(i < 20 ? 0 : i < 80 ? 1 : 2, size_class, size), size, size, 1);
  }
  struct ha_sample large = {0};
  ha_sample_record(&large, entry_of(3, 90, 0), 200704, 200000, 1);
  struct ha_fragmentation_class classes[8] = {
      [3] = {.free_bytes = 10001, .block_size = 64},
      [5] = {.free_bytes = 777, .block_size = 96},
      [7] = {.free_bytes = 55, .block_size = 128},
  };
  struct ha_fragmentation fragmentation = {.classes = classes, .class_count = 8};
  struct ha_profile profile;
  CHECK(ha_fragmentation_gather(&fragmentation, memory), "no memory");
  ha_fragmentation_profile(&profile, "fragmentation", &fragmentation);
  for (int again = 0; again < 2; again++) {
    struct seen seen = rows_of(&profile);
    CHECK_EQ(seen.sums[1], (int64_t)10001 + 777 + 55);
    for (int i = 0; i < seen.rows; i++) {
      const struct ha_row *row = &seen.row[i];
      if (row->values[1] == 0) {
        continue; /* of a class without free bytes and sites */
      }
      switch (row->frames[0]) {
      case 0x400000:
        CHECK(row->values[1] >= 2500 && row->values[1] <= 2501, "a quarter is %ld", (long)row->values[1]);
        CHECK_EQ(row->values[0], (int64_t)20 * 64);
        break;
      case 0x400010:
        CHECK(row->values[1] >= 7500 && row->values[1] <= 7501, "three quarters are %ld",
              (long)row->values[1]);
        break;
      case 0x400020:
        CHECK_EQ(row->values[1], (int64_t)777);
        break;
      default:
        CHECK_EQ(row->frames[0], (uintptr_t)HA_FRAME_UNKNOWN);
        CHECK_EQ(row->values[1], (int64_t)55);
        CHECK_EQ(row->block_size, (uint64_t)128);
      }
    }
  }
}
