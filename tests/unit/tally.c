/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: CPU time or waits counted twice, lost, or under another stack or label.
 */
#include <pthread.h>

#include "sampler/tally.h"
#include "tests/test.h"

#define SIZE ((size_t)1024 * 1024)
#define DEPTH 12
#define STACKS 400
#define LABEL_SETS 3
#define THREADS 8
#define ROUNDS 300

static struct {
  uint64_t rows;
  int64_t sums[HA_TALLY_VALUES];
  int64_t overflow;
  int64_t by_key[STACKS][LABEL_SETS];
} seen;

static void make_frames(uintptr_t *frames, unsigned number) {
  for (unsigned i = 0; i < DEPTH; i++) {
    frames[i] = 0x400000 + (i == DEPTH / 2 ? (number + 1) * 16 : i * 64);
  }
}

static void look(const struct ha_row *row, void *arg) {
  (void)arg;
  seen.rows++;
  for (int i = 0; i < HA_TALLY_VALUES; i++) {
    seen.sums[i] += row->values[i];
    CHECK_EQ(row->sampled[i], row->values[i]);
  }
  if (row->frames[0] == HA_FRAME_OVERFLOW) {
    seen.overflow += row->values[0];
    return;
  }
  CHECK_EQ(row->frame_count, (uint32_t)DEPTH);
  unsigned number = (unsigned)(row->frames[DEPTH / 2] - 0x400000) / 16 - 1;
  uintptr_t frames[DEPTH];
  make_frames(frames, number);
  CHECK(memcmp(frames, row->frames, sizeof frames) == 0, "frames of stack %u are others", number);
  CHECK_EQ(seen.by_key[number][row->label_set], (int64_t)0);
  seen.by_key[number][row->label_set] = row->values[0];
}

static void look_at(const struct ha_tally *tally) {
  memset(&seen, 0, sizeof seen);
  ha_tally_visit(&(struct ha_profile){.source = tally}, look, NULL);
}

TEST(equal_keys_add_up_and_others_do_not) {
  struct ha_tally *tally = ha_tally_new(SIZE);
  uintptr_t frames[DEPTH];
  for (unsigned number = 0; number < STACKS; number++) {
    make_frames(frames, number);
    for (uint32_t labels = 0; labels < LABEL_SETS; labels++) {
      ha_tally_add(tally, frames, DEPTH, labels, number + 1, 10);
      ha_tally_add(tally, frames, DEPTH, labels, labels, 1);
    }
  }
  look_at(tally);
  CHECK_EQ(seen.rows, (uint64_t)STACKS * LABEL_SETS);
  for (unsigned number = 0; number < STACKS; number++) {
    for (uint32_t labels = 0; labels < LABEL_SETS; labels++) {
      CHECK_EQ(seen.by_key[number][labels], (int64_t)(number + 1 + labels));
    }
  }
  CHECK_EQ(seen.sums[1], (int64_t)STACKS * LABEL_SETS * 11);
  ha_tally_free(tally);
}

static void *add_all(void *arg) {
  uintptr_t frames[DEPTH];
  for (unsigned round = 0; round < ROUNDS; round++) {
    for (unsigned number = 0; number < STACKS; number++) {
      make_frames(frames, number);
      ha_tally_add(arg, frames, DEPTH, number % LABEL_SETS, 1, 5);
    }
  }
  return NULL;
}

TEST(threads_lose_nothing_and_make_no_row_twice) {
  struct ha_tally *tally = ha_tally_new(SIZE);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, add_all, tally), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  look_at(tally);
  CHECK_EQ(seen.rows, (uint64_t)STACKS);
  for (unsigned number = 0; number < STACKS; number++) {
    CHECK_EQ(seen.by_key[number][number % LABEL_SETS], (int64_t)THREADS * ROUNDS);
  }
  CHECK_EQ(seen.sums[1], (int64_t)5 * THREADS * ROUNDS * STACKS);
}

TEST(what_finds_no_room_is_overflow) {
  static _Alignas(16) char memory[256 * 1024];
  size_t size = ha_tally_size(10, (size_t)10 * DEPTH);
  CHECK(size <= sizeof memory, "%zu bytes for 10 rows", size);
  memset(memory + size, 0x5a, sizeof memory - size);
  struct ha_tally *tally = ha_tally_at(memory, size);
  uintptr_t frames[DEPTH];
  for (unsigned number = 0; number < 30; number++) {
    make_frames(frames, number);
    ha_tally_add(tally, frames, DEPTH, 0, 2, 3);
  }
  look_at(tally);
  CHECK_EQ(seen.rows, (uint64_t)11);
  CHECK_EQ(seen.overflow, (int64_t)40);
  CHECK_EQ(ha_tally_overflow(tally), (int64_t)40);
  CHECK_EQ(seen.sums[1], (int64_t)90);
  for (size_t i = size; i < sizeof memory; i++) {
    CHECK_EQ(memory[i], (char)0x5a);
  }
}

TEST(an_empty_tally_has_no_rows) {
  struct ha_tally *tally = ha_tally_new(SIZE);
  look_at(tally);
  CHECK_EQ(seen.rows, (uint64_t)0);
  ha_tally_free(tally);
  ha_tally_free(NULL);
}

static void look_at_delta(struct ha_tally *tally) {
  memset(&seen, 0, sizeof seen);
  ha_tally_visit_delta(&(struct ha_profile){.source = tally}, look, NULL);
}

/* What is added between the visit and the commit belongs to the next delta, and one that is not committed never was. */
TEST(deltas_add_up_to_the_whole) {
  struct ha_tally *tally = ha_tally_new(SIZE);
  uintptr_t frames[DEPTH];
  make_frames(frames, 1);
  ha_tally_add(tally, frames, DEPTH, 0, 5, 50);
  look_at_delta(tally);
  CHECK_EQ(seen.sums[1], (int64_t)50);
  ha_tally_add(tally, frames, DEPTH, 0, 1, 10);
  ha_tally_commit_delta(tally);
  ha_tally_add(tally, frames, DEPTH, 0, 2, 20);
  look_at_delta(tally);
  CHECK_EQ(seen.sums[1], (int64_t)30);
  look_at_delta(tally);
  CHECK_EQ(seen.sums[1], (int64_t)30);
  ha_tally_commit_delta(tally);
  look_at_delta(tally);
  CHECK_EQ(seen.sums[1], (int64_t)0);
  look_at(tally);
  CHECK_EQ(seen.sums[1], (int64_t)80);
  ha_tally_free(tally);
}
