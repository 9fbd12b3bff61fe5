/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: two equal stacks counted apart, two different ones counted as one, a lost
 * stack reported as nothing.
 */
#include <pthread.h>

#include "sampler/stack.h"
#include "sampler/table.h"
#include "tests/test.h"

#define THREADS 8
#define STACKS 1000 /* within one level of the table: only while it grows may a stack be stored twice */
#define DEPTH 20

static void make_frames(uintptr_t *frames, unsigned number) {
  for (unsigned i = 0; i < DEPTH; i++) {
    frames[i] = 0x400000 + (i == DEPTH / 2 ? number * 16 : i * 64);
  }
}

TEST(same_frames_give_same_stack) {
  uintptr_t frames[DEPTH];
  uintptr_t copy[DEPTH];
  make_frames(frames, 1);
  make_frames(copy, 1);
  CHECK_EQ(ha_stack_intern(frames, DEPTH), ha_stack_intern(copy, DEPTH));
  CHECK_EQ(ha_stack_count(), (uint64_t)1);
}

TEST(different_frames_give_different_stacks) {
  uintptr_t frames[DEPTH];
  const struct ha_stack *stacks[STACKS];
  for (unsigned i = 0; i < STACKS; i++) {
    make_frames(frames, i);
    stacks[i] = ha_stack_intern(frames, DEPTH);
    CHECK(stacks[i] != NULL, "stack %u is lost", i);
    CHECK_EQ(memcmp(stacks[i]->frames, frames, sizeof frames), 0);
  }
  CHECK_EQ(ha_stack_count(), (uint64_t)STACKS);
  for (unsigned i = 0; i < STACKS; i++) {
    make_frames(frames, i);
    CHECK_EQ(ha_stack_intern(frames, DEPTH), stacks[i]);
  }
}

TEST(a_prefix_is_another_stack) {
  uintptr_t frames[DEPTH];
  make_frames(frames, 1);
  const struct ha_stack *whole = ha_stack_intern(frames, DEPTH);
  const struct ha_stack *part = ha_stack_intern(frames, DEPTH - 1);
  CHECK(whole != part, "the depth makes no difference");
  CHECK_EQ(part->frame_count, (uint32_t)DEPTH - 1);
}

TEST(the_empty_stack_is_a_stack) {
  const struct ha_stack *empty = ha_stack_intern(NULL, 0);
  CHECK(empty != NULL && empty->frame_count == 0, "no empty stack");
  CHECK_EQ(ha_stack_intern(NULL, 0), empty);
}

static const struct ha_stack *seen[THREADS][STACKS];
static pthread_barrier_t start;

static void *intern_all(void *arg) {
  size_t thread = (size_t)arg;
  uintptr_t frames[DEPTH];
  pthread_barrier_wait(&start);
  for (unsigned i = 0; i < STACKS; i++) {
    /* Half the threads in the other direction, so that they meet in the middle too. */
    unsigned number = thread % 2 == 0 ? i : STACKS - 1 - i;
    make_frames(frames, number);
    seen[thread][number] = ha_stack_intern(frames, DEPTH);
  }
  return NULL;
}

TEST(eight_threads_intern_one_pointer) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&start, NULL, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, intern_all, (void *)i);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  for (unsigned number = 0; number < STACKS; number++) {
    for (int thread = 0; thread < THREADS; thread++) {
      CHECK(seen[thread][number] == seen[0][number], "thread %d has another pointer for stack %u", thread,
            number);
    }
    CHECK(number == 0 || seen[0][number] != seen[0][number - 1], "stacks %u and %u are one", number,
          number - 1);
  }
  CHECK_EQ(ha_stack_count(), (uint64_t)STACKS + 1); /* and that of the threads' creator */
}

TEST(a_full_table_gives_null_for_new_stacks_and_knows_the_old) {
  uintptr_t frames[DEPTH];
  make_frames(frames, 1);
  const struct ha_stack *old = ha_stack_intern(frames, DEPTH);
  while (ha_table_memory(1024 * 1024) != NULL || ha_table_memory(16) != NULL) {
  }
  CHECK_EQ(ha_stack_intern(frames, DEPTH), old);
  make_frames(frames, 2);
  CHECK(ha_stack_intern(frames, DEPTH) == NULL, "a full table took a stack");
}

/* The table grows in levels, the last one from 16,384 stacks on: what was stored in one is found from the next. */
#define MANY_STACKS 40000

TEST(stacks_are_found_again_after_the_table_has_grown) {
  static const struct ha_stack *known[MANY_STACKS];
  uintptr_t frames[DEPTH];
  for (unsigned number = 0; number < MANY_STACKS; number++) {
    make_frames(frames, number + 1);
    known[number] = ha_stack_intern(frames, DEPTH);
  }
  for (unsigned number = 0; number < MANY_STACKS; number++) {
    make_frames(frames, number + 1);
    CHECK(ha_stack_intern(frames, DEPTH) == known[number], "stack %u has become another", number);
  }
  CHECK_EQ(ha_stack_count(), (uint64_t)MANY_STACKS);
}
