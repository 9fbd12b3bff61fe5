/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: memory in use that reads as zero because it was given back, a calloc that is
 * not zero because it was not, a server that is shrunk and faulted in again with every request, or one that
 * never shrinks.
 */
#include "alloc/release.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "alloc/arena.h"
#include "alloc/heap.h"
#include "alloc/page_map.h"
#include "alloc/resident.h"
#include "alloc/stats.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/lock.h"
#include "base/os.h"
#include "tests/test.h"

#define SEED 20261204
#define KIB ((size_t)1024)
#define MIB (KIB * KIB)
#define LEAST (300 * KIB)
#define MOST (5 * MIB)
#define CHUNK (4 * MIB) /* is given back in one call of the kernel, so that much more than was asked for */
#define BLOCKS 40
#define STRIDE 64 /* words from one that is written to the next: eight in each OS page */

struct large {
  uint64_t *words;
  size_t size;
};

/* ---- Large blocks ---- */

static void fill(struct large *block) {
  for (size_t i = 0; i < block->size / sizeof(uint64_t); i += STRIDE) {
    block->words[i] = (uintptr_t)block->words * 31 + i;
  }
}

static void check_filled(const struct large *block, size_t size) {
  for (size_t i = 0; i < size / sizeof(uint64_t); i += STRIDE) {
    CHECK(block->words[i] == (uintptr_t)block->words * 31 + i,
          "a block of %zu in use has changed at byte %zu", block->size, i * sizeof(uint64_t));
  }
}

static void check_zero(const struct large *block) {
  for (size_t i = 0; i < block->size / sizeof(uint64_t); i += STRIDE / 8) {
    CHECK(block->words[i] == 0, "calloc of %zu is not zero at byte %zu", block->size, i * sizeof(uint64_t));
  }
}

static struct large new_large(uint64_t *random) {
  struct large block = {NULL, LEAST + test_random(random) % (MOST - LEAST)};
  block.words = malloc(block.size);
  CHECK(block.words != NULL, "no memory");
  fill(&block);
  return block;
}

static void free_large(struct large *block) {
  check_filled(block, block->size);
  free(block->words);
  block->words = NULL;
}

/* Only the test itself gives back. */
static void begin(void) {
  ha_config.background = HA_BACKGROUND_OFF;
  hp_set_mem_profile_rate(0);
  ha_release_all();
  ha_release_poke(); /* the next one is a quarter of a second away */
}

static size_t idle(void) {
  return ha_arena_totals().free_resident * HA_OS_PAGE;
}

static size_t used_bytes(void) {
  struct ha_arena_totals totals = ha_arena_totals();
  return (totals.slices - totals.free_slices) * HA_SLICE;
}

/* Lest the compiler takes a look at where a block was for a use after free. */
static uintptr_t place_of(const void *block) {
  volatile uintptr_t place = (uintptr_t)block;
  return place;
}

static size_t resident_os_pages(uintptr_t start, size_t size) {
  static unsigned char residency[MOST / HA_OS_PAGE];
  size_t count = 0;
  CHECK_EQ(mincore((void *)start, size, residency), 0);
  for (size_t i = 0; i < size / HA_OS_PAGE; i++) {
    count += residency[i] & 1;
  }
  return count;
}

/* Whatever the pieces: what is said to be given back is what is not resident any more. */
static void release_and_check(size_t bytes) {
  size_t idle_before = idle();
  uint64_t pages_before = ha_resident_pages();
  uint64_t total_before = ha_release_totals().bytes;
  size_t released = ha_release(bytes);
  size_t due = bytes < idle_before ? bytes : idle_before;
  CHECK(released >= due && released < due + CHUNK, "of %zu idle bytes %zu were wanted and %zu released",
        idle_before, bytes, released);
  CHECK_EQ(idle(), idle_before - released);
  CHECK_EQ(ha_resident_pages() * HA_OS_PAGE, pages_before * HA_OS_PAGE - released);
  CHECK_EQ(ha_release_totals().bytes - total_before, (uint64_t)released);
}

TEST(as_much_is_released_as_was_asked_for) {
  static const size_t amounts[] = {0, 1, HA_OS_PAGE, HA_OS_PAGE + 1, 700 * KIB, MIB, CHUNK, 9 * MIB, 1};
  struct large blocks[BLOCKS];
  uint64_t random = SEED;
  test_note("seed %d", SEED);
  begin();
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < BLOCKS; i++) {
      blocks[i] = new_large(&random);
    }
    for (int i = 0; i < BLOCKS; i++) {
      if (test_random(&random) % 3 != 0) {
        free_large(&blocks[i]);
      }
    }
    for (size_t i = 0; i < HA_ARRAY_LEN(amounts); i++) {
      release_and_check(amounts[i]);
    }
    release_and_check(SIZE_MAX - HA_OS_PAGE);
    CHECK_EQ(idle(), (size_t)0);
    release_and_check(MIB);
    for (int i = 0; i < BLOCKS; i++) {
      if (blocks[i].words != NULL) {
        free_large(&blocks[i]);
      }
    }
  }
}

TEST(the_kernel_has_what_was_released) {
  uint64_t random = SEED;
  begin();
  struct large block = new_large(&random);
  size_t size = ha_align_down(block.size, HA_OS_PAGE);
  uintptr_t start = place_of(block.words);
  CHECK_EQ(resident_os_pages(start, size), size / HA_OS_PAGE);
  free_large(&block);
  CHECK_EQ(resident_os_pages(start, size), size / HA_OS_PAGE);
  CHECK(ha_release_all() >= size, "not all was released");
  CHECK_EQ(resident_os_pages(start, size), (size_t)0);
}

/* The kernel refuses it, and a program that locks a buffer and frees it need not know. */
TEST(a_locked_os_page_does_not_keep_the_rest) {
  begin();
  char *large = malloc(20 * MIB);
  char *between = malloc(MIB);
  char *other = malloc(10 * MIB);
  memset(large, 1, 20 * MIB);
  memset(other, 1, 10 * MIB);
  if (mlock(large + 3 * HA_OS_PAGE, HA_OS_PAGE) != 0) {
    test_skip("mlock: %s", strerror(errno));
  }
  free(large);
  free(other);
  ha_release_all();
  CHECK(idle() <= CHUNK, "one locked OS page keeps %zu bytes", idle());
  free(between);
}

/* Each page has got its last blocks back from another thread than the first ones. */
enum { SHARED = 40 * 64, SHARED_SIZE = 1000 };
static void *shared_blocks[SHARED];

static void *free_each_fourth(void *arg) {
  for (size_t i = 0; i < SHARED; i += 4) {
    free(shared_blocks[i]);
  }
  return arg;
}

static void in_thread(void *(*run)(void *)) {
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, run, NULL), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(pages_emptied_by_two_threads_are_given_back) {
  begin();
  in_thread(free_each_fourth); /* of nothing, for what libc keeps for threads */
  hp_free_os_memory();
  size_t before = used_bytes();
  for (size_t i = 0; i < SHARED; i++) {
    shared_blocks[i] = malloc(SHARED_SIZE);
  }
  for (size_t i = 0; i < SHARED; i++) {
    if (i % 4 != 0) {
      free(shared_blocks[i]);
    }
  }
  in_thread(free_each_fourth);
  hp_free_os_memory();
  CHECK(used_bytes() <= before + HA_SLICE, "%zu bytes of pages without a block in use are kept",
        used_bytes() - before);
}

/* ---- What comes from released memory is zero ---- */

static void check_calloc(size_t size) {
  struct large block = {calloc(1, size), size};
  CHECK(block.words != NULL, "no memory");
  check_zero(&block);
  memset(block.words, 0xee, size);
  free(block.words);
}

/* Some of a span is released and some is not. */
TEST(calloc_of_partly_released_memory_is_zero) {
  uint64_t random = SEED;
  begin();
  struct large all = {malloc(30 * MIB), 30 * MIB};
  for (int round = 0; round < 30; round++) {
    memset(all.words, 0xee, all.size);
    free(all.words);
    release_and_check(test_random(&random) % (20 * MIB));
    for (int i = 0; i < 4; i++) {
      check_calloc(LEAST + test_random(&random) % (20 * MIB));
    }
    all.words = malloc(all.size);
  }
}

TEST(calloc_of_released_memory_leaves_it_with_the_kernel) {
  begin();
  void *first = malloc(MOST);
  uintptr_t place = place_of(first);
  memset(first, 0xee, MOST);
  free(first);
  ha_release_all();
  void *block = calloc(1, MOST);
  CHECK_EQ((uintptr_t)block, place);
  CHECK(resident_os_pages(place, MOST) <= 1, "calloc has touched %zu OS pages",
        resident_os_pages(place, MOST));
}

TEST(small_blocks_of_released_memory_are_zero) {
  enum { COUNT = 20000, SIZE = 48 };
  static unsigned char *blocks[COUNT];
  begin();
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < COUNT; i++) {
      blocks[i] = calloc(1, SIZE);
      for (int k = 0; k < SIZE; k++) {
        CHECK(blocks[i][k] == 0, "byte %d of block %zu is not zero", k, i);
      }
      memset(blocks[i], 0xee, SIZE);
    }
    for (size_t i = 0; i < COUNT; i++) {
      free(blocks[i]);
    }
    ha_heap_trim(ha_heap_of_thread());
    size_t there = idle();
    ha_release(round == 1 ? there / 2 : there);
  }
}

/* ---- Others allocate meanwhile ---- */

#define THREADS 3
#define HELD 5
#define OPERATIONS 2500

static int running; /* atomic */

static void grow(struct large *block, uint64_t *random) {
  size_t size = block->size + test_random(random) % MIB;
  struct large grown = {realloc(block->words, size), size};
  CHECK(grown.words != NULL, "no memory");
  /* The marks tell where they were made. */
  struct large old = {grown.words, block->size};
  for (size_t i = 0; i < old.size / sizeof(uint64_t); i += STRIDE) {
    CHECK(old.words[i] == (uintptr_t)block->words * 31 + i, "realloc of %zu lost byte %zu", old.size,
          i * sizeof(uint64_t));
  }
  fill(&grown);
  *block = grown;
}

static void *churn_large(void *arg) {
  uint64_t random = SEED + (uintptr_t)arg;
  struct large held[HELD] = {{NULL, 0}};
  for (int i = 0; i < OPERATIONS; i++) {
    struct large *block = &held[test_random(&random) % HELD];
    if (block->words != NULL && test_random(&random) % 4 == 0 && block->size < MOST) {
      grow(block, &random);
    } else if (block->words != NULL) {
      free_large(block);
    } else if (test_random(&random) % 4 == 0) {
      *block = (struct large){calloc(1, LEAST), LEAST};
      check_zero(block);
      fill(block);
    } else {
      *block = new_large(&random);
    }
  }
  for (int i = 0; i < HELD; i++) {
    if (held[i].words != NULL) {
      free_large(&held[i]);
    }
  }
  __atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

static void start_churning(pthread_t *threads) {
  ha_store_release(&running, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, churn_large, (void *)i), 0);
  }
}

static void join_all(const pthread_t *threads) {
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

TEST_WITHIN(120, memory_is_released_while_others_allocate) {
  pthread_t threads[THREADS];
  uint64_t random = SEED;
  begin();
  start_churning(threads); /* twice: libc keeps something for ended threads */
  join_all(threads);
  ha_heap_trim(ha_heap_of_thread());
  uint64_t used = ha_arena_totals().slices - ha_arena_totals().free_slices;
  size_t released = 0;
  start_churning(threads);
  while (ha_load_acquire(&running) > 0) {
    released += ha_release(test_random(&random) % (8 * MIB));
  }
  join_all(threads);
  ha_heap_trim(ha_heap_of_thread());
  test_note("%zu MiB released", released / MIB);
  CHECK(released > 0, "nothing was released");
  CHECK_EQ(ha_arena_totals().slices - ha_arena_totals().free_slices, used);
  size_t rest = idle();
  CHECK_EQ(ha_release(SIZE_MAX - HA_OS_PAGE), rest);
  CHECK_EQ(idle(), (size_t)0);
}

/* ---- How much is kept ---- */

#define LOAD_SLICES 1600 /* 100 MiB */
#define MILLISECOND (HA_SECOND / 1000)

/* Spans are had from the arena itself, where nobody releases on the way. */
static struct ha_page *take(size_t slices) {
  ha_lock(HA_RANK_ARENA);
  struct ha_page *span = ha_span_alloc_locked(slices, HA_SLICE);
  CHECK(span != NULL, "no memory");
  span->kind = HA_PAGE_LARGE;
  ha_resident_set(span->arena, span->start, slices * HA_SLICE);
  ha_unlock(HA_RANK_ARENA);
  return span;
}

static void give(struct ha_page *span) {
  ha_lock(HA_RANK_ARENA);
  ha_span_free_locked(span);
  ha_unlock(HA_RANK_ARENA);
}

/* A time at which all earlier load is forgotten; later than any before. */
static uint64_t after_a_pause(void) {
  static uint64_t now;
  now = (now == 0 ? ha_clock_monotonic() : now) + 10 * HA_SECOND;
  for (int i = 0; i < 3; i++) {
    now += 2 * HA_SECOND;
    ha_release_surplus(now);
  }
  return now;
}

/* What is idle beyond a tenth of what is in use. */
static void check_rest_goes(uint64_t now) {
  size_t kept = used_bytes() / 10;
  size_t surplus = ha_release_surplus(now);
  CHECK(surplus <= idle() - kept + HA_SLICE && surplus + HA_SLICE >= idle() - kept,
        "of %zu idle bytes %zu are surplus, with %zu in use", idle(), surplus, used_bytes());
}

TEST(a_peak_is_kept_for_the_rest_of_its_window_and_the_next) {
  begin();
  struct ha_page *rest = take(LOAD_SLICES / 4);
  for (int peak_at = 0; peak_at < 2000; peak_at += 500) {
    uint64_t now = after_a_pause() + (uint64_t)peak_at * MILLISECOND;
    give(take(LOAD_SLICES));
    for (int ms = 0; ms < 4000 - peak_at; ms += 100) {
      CHECK_EQ(ha_release_surplus(now + (uint64_t)ms * MILLISECOND), (size_t)0);
    }
    now += (uint64_t)(4000 - peak_at) * MILLISECOND;
    ha_release_surplus(now); /* the second window ends */
    check_rest_goes(now + MILLISECOND);
  }
  give(rest);
}

TEST(a_load_that_goes_up_and_down_releases_nothing) {
  begin();
  uint64_t now = after_a_pause();
  for (int i = 0; i < 30; i++) {
    give(take(LOAD_SLICES));
    now += 1700 * MILLISECOND;
    CHECK_EQ(ha_release_surplus(now), (size_t)0);
  }
}

TEST(of_a_load_that_has_shrunk_the_difference_is_surplus) {
  begin();
  uint64_t now = after_a_pause();
  struct ha_page *half = take(LOAD_SLICES / 2);
  struct ha_page *other = take(LOAD_SLICES / 2);
  for (int i = 0; i < 10; i++) {
    CHECK_EQ(ha_release_surplus(now += HA_SECOND), (size_t)0);
  }
  give(other);
  for (int i = 0; i < 5; i++) {
    ha_release_surplus(now += HA_SECOND);
  }
  check_rest_goes(now);
  ha_release(ha_release_surplus(now));
  CHECK(ha_release_surplus(now + MILLISECOND) < HA_OS_PAGE, "there is surplus after it was released");
  CHECK(idle() > 0, "the tenth beyond what is in use is gone too");
  give(half);
}
