/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a server that starts a thread per request and grows with each, a crash when a
 * library's thread-exit code allocates, memory of ended threads that nobody gets back.
 */
#include <pthread.h>
#include <stdlib.h>

#include "tests/api/hp.h"

#define MIB ((size_t)1 << 20)
#define SEQUENTIAL 6000
#define WARM 500
#define LEFT 200

static void run(void *(*function)(void *), void *arg) {
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, function, arg), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void *use_and_leave_one(void *slot) {
  void *blocks[50];
  for (size_t i = 0; i < 50; i++) {
    blocks[i] = malloc(i * 50 + 1);
  }
  for (size_t i = 0; i < 50; i++) {
    free(blocks[i]);
  }
  *(void **)slot = malloc(100);
  return NULL;
}

TEST(six_thousand_threads_leave_nothing_behind) {
  size_t warm = 0;
  for (int i = 0; i < SEQUENTIAL; i++) {
    void *left = NULL;
    run(use_and_leave_one, &left);
    free(left);
    if (i == WARM) {
      warm = resident();
    }
  }
  size_t end = resident();
  test_note("resident after %d threads %zu KiB, after %d %zu KiB", WARM, warm / 1024, SEQUENTIAL, end / 1024);
  CHECK(end < warm + MIB, "resident grew from %zu to %zu bytes", warm, end);
}

/* Destructors of a key that allocate, free, and arm themselves again, in all four rounds POSIX has. */
static pthread_key_t key;
static int rounds;

static void allocate_again(void *block) {
  static __thread int round;
  free(block);
  for (int i = 0; i < 1000; i++) {
    void *more = malloc((size_t)i + 1);
    CHECK(more != NULL, "no memory in a destructor");
    memset(more, i, (size_t)i + 1);
    free(more);
  }
  __atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED);
  if (++round < 4) {
    pthread_setspecific(key, malloc(33));
  }
}

static void *with_key(void *arg) {
  pthread_setspecific(key, malloc(10));
  free(malloc(5));
  return arg;
}

TEST(key_destructors_allocate_in_every_round) {
  CHECK_EQ(pthread_key_create(&key, allocate_again), 0);
  uint64_t live = hp_stats().HeapObjects;
  for (int i = 0; i < 500; i++) {
    run(with_key, NULL);
  }
  CHECK_EQ(rounds, 2000);
  uint64_t more = hp_stats().HeapObjects - live;
  CHECK(more <= 4, "%lu blocks are left of 500 threads", (unsigned long)more);
}

/* Allocating after the heap is closed goes on beside threads that begin: both meet on the same shared state.
 */
static int is_over;

static void allocate_late(void *arg) {
  static __thread int round;
  if (++round < 4) {
    pthread_setspecific(key, arg);
    return;
  }
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    void *block = malloc(64);
    CHECK(block != NULL, "no memory in a destructor");
    memset(block, 1, 64);
    free(block);
  }
}

static void *with_late_key(void *arg) {
  free(malloc(5));
  pthread_setspecific(key, &key);
  return arg;
}

static void *use_all_sizes(void *arg) {
  for (size_t size = 16; size < 200000; size += size / 9 + 16) {
    void *block = malloc(size);
    CHECK(block != NULL, "no memory");
    memset(block, 2, 16);
    free(block);
  }
  return arg;
}

TEST(allocating_at_a_threads_very_end_disturbs_no_beginning) {
  free(malloc(1));
  CHECK_EQ(pthread_key_create(&key, allocate_late), 0);
  pthread_t late[2];
  for (int i = 0; i < 2; i++) {
    pthread_create(&late[i], NULL, with_late_key, NULL);
  }
  for (int i = 0; i < 1000; i++) {
    pthread_t threads[4];
    for (int k = 0; k < 4; k++) {
      CHECK_EQ(pthread_create(&threads[k], NULL, use_all_sizes, NULL), 0);
    }
    for (int k = 0; k < 4; k++) {
      pthread_join(threads[k], NULL);
    }
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < 2; i++) {
    pthread_join(late[i], NULL);
  }
}

TEST(threads_that_begin_and_end_together_keep_the_heap_whole) {
  for (int i = 0; i < 1500; i++) {
    pthread_t threads[8];
    for (int k = 0; k < 8; k++) {
      CHECK_EQ(pthread_create(&threads[k], NULL, use_all_sizes, NULL), 0);
    }
    for (int k = 0; k < 8; k++) {
      pthread_join(threads[k], NULL);
    }
  }
}

/* A thread fills 64 MiB, ends; the blocks are freed by the main thread, which then uses as much, and starts
 * no more threads. */
#define FILL_BLOCKS (64 * 1024)
#define FILL_SIZE 1008

static void *filled[FILL_BLOCKS];

static void *fill(void *arg) {
  for (int i = 0; i < FILL_BLOCKS; i++) {
    filled[i] = malloc(FILL_SIZE);
    CHECK(filled[i] != NULL, "no memory");
    memset(filled[i], i, FILL_SIZE);
  }
  return arg;
}

TEST(memory_of_an_ended_thread_is_used_again_without_a_new_one) {
  run(fill, NULL);
  size_t full = resident();
  for (int i = 0; i < FILL_BLOCKS; i++) {
    CHECK_EQ(*(unsigned char *)filled[i], (unsigned char)i);
    free(filled[i]);
  }
  fill(NULL);
  size_t again = resident();
  test_note("resident %zu KiB, filled again %zu KiB", full / 1024, again / 1024);
  CHECK(again < full + 4 * MIB, "resident grew from %zu to %zu bytes", full, again);
}

/* The same with every second block: what is free inside the ended thread's pages must be found. */
TEST(holes_of_an_ended_thread_are_filled_by_a_living_one) {
  run(fill, NULL);
  size_t full = resident();
  for (int i = 0; i < FILL_BLOCKS; i += 2) {
    free(filled[i]);
  }
  for (int i = 0; i < FILL_BLOCKS; i += 2) {
    filled[i] = malloc(FILL_SIZE);
    memset(filled[i], i, FILL_SIZE);
  }
  size_t again = resident();
  CHECK(again < full + 4 * MIB, "resident grew from %zu to %zu bytes", full, again);
  for (int i = 0; i < FILL_BLOCKS; i++) {
    CHECK_EQ(*(unsigned char *)filled[i], (unsigned char)i);
  }
}

static void *fill_slots(void *slots) {
  for (int i = 0; i < LEFT; i++) {
    ((void **)slots)[i] = malloc(64 + (size_t)i);
  }
  return NULL;
}

static void *free_slots(void *slots) {
  for (int i = 0; i < LEFT; i++) {
    free(((void **)slots)[i]);
  }
  return NULL;
}

/* Neither who allocated nor who frees exists when the next pair comes. */
TEST(blocks_of_ended_threads_are_freed_by_ending_threads) {
  void *slots[LEFT];
  size_t warm = 0;
  for (int i = 0; i < 1500; i++) {
    run(fill_slots, slots);
    run(free_slots, slots);
    if (i == 300) {
      warm = resident();
    }
  }
  CHECK(resident() < warm + MIB, "resident grew from %zu to %zu bytes", warm, resident());
  CHECK_EQ(hp_stats().Threads, (uint64_t)1);
}

/* Many samples of one size are freed, so that halloc's records of them are used for something else: the heaps of a
 * hundred threads, which all live at a time. */
#define RECYCLED_BLOCKS 40000
#define RECYCLED_THREADS 100

static pthread_barrier_t all_have_allocated;

static void *allocate_all_sizes_at_once(void *arg) {
  void *blocks[64];
  for (int i = 0; i < 64; i++) {
    blocks[i] = malloc(16 + (size_t)i * 40);
    memset(blocks[i], 1, 16 + (size_t)i * 40);
  }
  pthread_barrier_wait(&all_have_allocated);
  for (int i = 0; i < 64; i++) {
    free(blocks[i]);
  }
  return arg;
}

TEST(heaps_are_whole_that_are_made_of_recycled_records) {
  static void *blocks[RECYCLED_BLOCKS];
  static const size_t sizes[] = {32, 200, 256};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (int i = 0; i < RECYCLED_BLOCKS; i++) {
      blocks[i] = malloc(sizes[s]);
    }
    for (int i = 0; i < RECYCLED_BLOCKS; i++) {
      free(blocks[i]);
    }
  }
  pthread_t threads[RECYCLED_THREADS];
  pthread_barrier_init(&all_have_allocated, NULL, RECYCLED_THREADS);
  for (int i = 0; i < RECYCLED_THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, allocate_all_sizes_at_once, NULL), 0);
  }
  for (int i = 0; i < RECYCLED_THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

/* Threads that allocate for the first time in a destructor, when halloc's own may have run already. */
static pthread_key_t late_key;

static void allocate_in_destructor(void *value) {
  void *block = malloc(100);
  CHECK(block != NULL && value != NULL, "no memory");
  memset(block, 1, 100);
  free(block);
}

static void *set_late_key(void *arg) {
  pthread_setspecific(late_key, (void *)1);
  return arg;
}

TEST(heaps_opened_by_destructors_are_closed) {
  free(malloc(1));
  CHECK_EQ(pthread_key_create(&late_key, allocate_in_destructor), 0);
  run(set_late_key, NULL);
  size_t before = resident();
  for (int i = 0; i < 1000; i++) {
    run(set_late_key, NULL);
  }
  CHECK(resident() < before + 2 * MIB, "resident grew from %zu to %zu bytes in 1000 threads", before, resident());
}
