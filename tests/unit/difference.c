/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a difference of two profiles that mixes up rows. A kind whose rows the test sets, and
 * encoders that only write the rows down.
 */
#include <stdlib.h>

#include "base/compiler.h"
#include "serve/difference.h"
#include "tests/test.h"

#define ROWS 3000

struct ha_scratch {
  char *next;
  size_t left;
};

static struct ha_scratch heap;
static int heaps_open;

static struct ha_scratch *scratch_new(void) {
  if (heap.left == 0) {
    return NULL;
  }
  heaps_open++;
  return &heap;
}

static void *scratch_alloc(struct ha_scratch *scratch, size_t size) {
  size = ha_align_up(size, 16);
  if (size > scratch->left) {
    return NULL;
  }
  scratch->left -= size;
  scratch->next += size;
  return memset(scratch->next - size, 0xa5, size);
}

static void scratch_destroy(struct ha_scratch *scratch) {
  (void)scratch;
  heaps_open--;
}

static struct ha_row written[2 * ROWS];
static unsigned written_count;

static void write_down(const struct ha_row *row, void *arg) {
  (void)arg;
  written[written_count++] = *row;
}

static int64_t duration;

static int proto(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *blob) {
  (void)scratch;
  written_count = 0;
  duration = profile->duration_nanos;
  profile->visit(profile, write_down, NULL);
  *blob = (struct ha_blob){NULL, 0};
  return 0;
}

const struct ha_encoders ha_encoders = {.version = HA_ENCODERS_VERSION,
                                        .scratch_new = scratch_new,
                                        .scratch_alloc = scratch_alloc,
                                        .scratch_destroy = scratch_destroy,
                                        .proto = proto};

static struct ha_row rows[ROWS];
static unsigned row_count;

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  for (unsigned i = 0; i < row_count; i++) {
    fn(&rows[i], arg);
  }
}

static int open_error;

static int open_kind(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  (void)memory;
  *profile = (struct ha_profile){.name = name, .type_count = 4, .visit = visit};
  return open_error;
}

static const struct ha_kind kind = {.name = "test", .open = open_kind};
static uintptr_t frames[ROWS][4];

static struct ha_difference *begin(void) {
  struct ha_difference *difference;
  heap.left = (size_t)64 << 20;
  heap.next = malloc(heap.left);
  CHECK_EQ(ha_difference_begin(&kind, &difference), 0);
  return difference;
}

static void finish(struct ha_difference *difference) {
  struct ha_profile_file file;
  CHECK_EQ(ha_difference_finish(difference, &file), 0);
  ha_profile_discard(&file);
  CHECK_EQ(heaps_open, 0);
}

static struct ha_row row_of(uintptr_t *row_frames, uint32_t labels, uint64_t size, int64_t value) {
  return (struct ha_row){.frames = row_frames,
                         .frame_count = 4,
                         .label_set = labels,
                         .block_size = size,
                         .values = {value, value * 2, value * 3, value * 4},
                         .sampled = {value, value, value, value}};
}

/* The sum of what was written for a key. */
static int64_t change_of(const uintptr_t *row_frames, uint32_t labels, uint64_t size, int value) {
  int64_t sum = 0;
  for (unsigned i = 0; i < written_count; i++) {
    const struct ha_row *row = &written[i];
    bool is_it = memcmp(row->frames, row_frames, sizeof frames[0]) == 0 && row->label_set == labels &&
                 row->block_size == size;
    sum += is_it ? row->values[value] : 0;
  }
  return sum;
}

TEST(each_row_is_compared_with_itself) {
  for (unsigned i = 0; i < ROWS; i++) {
    frames[i][0] = 4096 + i / 6;
    rows[i] = row_of(frames[i], i % 2, i % 3, i + 1);
  }
  row_count = ROWS;
  struct ha_difference *difference = begin();
  uint64_t seed = 7;
  int64_t changes[ROWS];
  for (unsigned i = 0; i < ROWS; i++) {
    changes[i] = (int64_t)(test_random(&seed) % 100) - 50;
    rows[i] = row_of(frames[i], i % 2, i % 3, (int64_t)i + 1 + changes[i]);
  }
  for (unsigned i = ROWS - 1; i > 0; i--) { /* another order is no difference */
    unsigned other = (unsigned)(test_random(&seed) % (i + 1));
    struct ha_row row = rows[i];
    rows[i] = rows[other];
    rows[other] = row;
  }
  finish(difference);
  for (unsigned i = 0; i < ROWS; i++) {
    for (int value = 0; value < 4; value++) {
      CHECK_EQ(change_of(frames[i], i % 2, i % 3, value), changes[i] * (value + 1));
    }
  }
  CHECK(duration > 0, "no time passed");
}

TEST(rows_come_and_go) {
  static uintptr_t copy[4];
  frames[0][0] = 5000;
  frames[1][0] = 6000;
  frames[2][0] = 7000;
  memcpy(copy, frames[0], sizeof copy);
  rows[0] = row_of(frames[0], 0, 0, 10);
  rows[1] = row_of(frames[1], 0, 0, 20);
  row_count = 2;
  struct ha_difference *difference = begin();
  rows[0] = row_of(copy, 0, 0, 11); /* the same frames elsewhere are the same */
  rows[1] = row_of(frames[2], 0, 0, 30);
  finish(difference);
  CHECK_EQ(change_of(frames[0], 0, 0, 0), (int64_t)1);
  CHECK_EQ(change_of(frames[1], 0, 0, 3), (int64_t)-80);
  CHECK_EQ(change_of(frames[2], 0, 0, 3), (int64_t)120);
}

TEST(rows_that_are_alike_are_compared_one_by_one) {
  for (int i = 0; i < 5; i++) {
    rows[i] = row_of(frames[0], 0, 0, 1);
  }
  row_count = 3;
  struct ha_difference *difference = begin();
  row_count = 5;
  finish(difference);
  CHECK_EQ(change_of(frames[0], 0, 0, 0), (int64_t)2);
}

TEST(numbers_tell_rows_apart) {
  rows[0] = row_of(frames[0], 0, 0, 1);
  rows[1] = row_of(frames[0], 0, 0, 100);
  for (int i = 0; i < 2; i++) {
    rows[i].number_count = 1;
    rows[i].numbers[0] = (struct ha_row_number){"thread", i, ""};
  }
  row_count = 2;
  struct ha_difference *difference = begin();
  struct ha_row row = rows[0];
  rows[0] = rows[1];
  rows[1] = row;
  finish(difference);
  for (unsigned i = 0; i < written_count; i++) {
    CHECK_EQ(written[i].values[0], (int64_t)0);
  }
}

TEST(no_memory_and_other_failures_leave_nothing) {
  struct ha_difference *difference;
  struct ha_profile_file file;
  row_count = ROWS;
  for (size_t room = 0; room < 2000000; room += 20011) {
    heap.left = room;
    heap.next = malloc(room + 16);
    if (ha_difference_begin(&kind, &difference) == 0) {
      ha_difference_discard(difference);
    }
    CHECK_EQ(heaps_open, 0);
  }
  open_error = -EIO;
  heap.left = 1 << 20;
  CHECK_EQ(ha_difference_begin(&kind, &difference), -EIO);
  CHECK_EQ(heaps_open, 0);
  open_error = 0;
  difference = begin();
  open_error = -EIO;
  CHECK_EQ(ha_difference_finish(difference, &file), -EIO);
  CHECK_EQ(heaps_open, 0);
}
