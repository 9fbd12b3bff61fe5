/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: two blocks that share memory, a block that changes while nobody writes to it,
 * a calloc that is not zero, whatever the threads do to each other. Every block is filled to its usable end
 * with a pattern of its own and checked when it is freed, mostly by another thread.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/test.h"

#define SEED 20240614
#define THREADS 8
#define OPS 1000000 /* of each thread */
#define SLOTS 8192
#define SHORT_LIVED 2000 /* threads that come and go */
#define AT_ONCE 16
#define SHORT_OPS 500

static uint64_t *slots[SLOTS];

static uint64_t pattern(const uint64_t *block, size_t words) {
  return ((uintptr_t)block * 0x9e3779b97f4a7c15u) ^ (words << 40);
}

/* Blocks of 8 bytes and more; the first word holds the number of words, the others follow from the address.
 */
static void fill(uint64_t *block) {
  size_t words = malloc_usable_size(block) / sizeof *block;
  uint64_t word = pattern(block, words);
  block[0] = words;
  for (size_t i = 1; i < words; i++) {
    block[i] = word + i;
  }
}

static void check(const uint64_t *block) {
  size_t words = malloc_usable_size((void *)(uintptr_t)block) / sizeof *block;
  uint64_t word = pattern(block, words);
  CHECK(block[0] == words, "block %p: word 0 is %#lx, not %#zx", (const void *)block, (unsigned long)block[0],
        words);
  for (size_t i = 1; i < words; i++) {
    CHECK(block[i] == word + i, "block %p of %zu words: word %zu is %#lx", (const void *)block, words, i,
          (unsigned long)block[i]);
  }
}

/* Mostly small; one in 64 up to 64 KiB, one in 8192 up to 4 MiB. */
static size_t random_size(uint64_t *random) {
  uint64_t kind = test_random(random) % 8192;
  unsigned doublings = kind == 0 ? 22 : kind % 64 == 0 ? 16 : 9;
  unsigned doubling = 3 + (unsigned)(test_random(random) % (doublings - 3));
  return ((size_t)1 << doubling) + test_random(random) % ((size_t)1 << doubling);
}

static uint64_t *zeroed(size_t size) {
  uint64_t *block = calloc(1, size);
  CHECK(block != NULL, "no memory");
  for (size_t i = 0; i < size / sizeof *block; i++) {
    CHECK(block[i] == 0, "calloc of %zu bytes at %p: word %zu is %#lx", size, (void *)block, i,
          (unsigned long)block[i]);
  }
  return block;
}

static uint64_t *allocate(uint64_t *random) {
  size_t size = random_size(random);
  uint64_t *block;
  switch (test_random(random) % 8) {
  case 0:
    block = zeroed(size);
    break;
  case 1: {
    size_t alignment = (size_t)16 << test_random(random) % 9;
    block = memalign(alignment, size);
    CHECK((uintptr_t)block % alignment == 0, "alignment %zu gives %p", alignment, (void *)block);
    break;
  }
  default:
    block = malloc(size);
  }
  CHECK(block != NULL && malloc_usable_size(block) >= size, "%zu bytes at %p", size, (void *)block);
  fill(block);
  return block;
}

static uint64_t *resize(uint64_t *block, size_t size) {
  check(block);
  size_t words = block[0];
  uint64_t word = pattern(block, words);
  block = realloc(block, size);
  CHECK(block != NULL, "no memory");
  size_t kept = words < size / sizeof *block ? words : size / sizeof *block;
  for (size_t i = 1; i < kept; i++) {
    CHECK(block[i] == word + i, "realloc to %zu bytes: word %zu is %#lx", size, i, (unsigned long)block[i]);
  }
  fill(block);
  return block;
}

static uint64_t *exchange(size_t slot, uint64_t *block) {
  return __atomic_exchange_n(&slots[slot], block, __ATOMIC_ACQ_REL);
}

static void mix(uint64_t seed, int ops) {
  uint64_t random = seed;
  for (int i = 0; i < ops; i++) {
    size_t slot = test_random(&random) % SLOTS;
    uint64_t *block = test_random(&random) % 8 == 0 ? exchange(slot, NULL) : NULL;
    block = block != NULL ? resize(block, random_size(&random)) : allocate(&random);
    block = exchange(slot, block);
    if (block != NULL) {
      check(block);
      free(block);
    }
  }
}

static void release_all(void) {
  for (size_t i = 0; i < SLOTS; i++) {
    uint64_t *block = exchange(i, NULL);
    if (block != NULL) {
      check(block);
      free(block);
    }
  }
}

static void *mix_long(void *arg) {
  mix(SEED + (uintptr_t)arg, OPS);
  return NULL;
}

TEST_WITHIN(150, blocks_keep_their_content_among_eight_threads) {
  pthread_t threads[THREADS];
  test_note("seed %d", SEED);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, mix_long, (void *)i), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  release_all();
}

static void *mix_short(void *arg) {
  mix(SEED + (uintptr_t)arg, SHORT_OPS);
  return NULL;
}

TEST_WITHIN(120, blocks_outlive_the_threads_that_made_them) {
  pthread_t threads[AT_ONCE];
  for (size_t i = 0; i < SHORT_LIVED + AT_ONCE; i++) {
    if (i >= AT_ONCE) {
      pthread_join(threads[i % AT_ONCE], NULL);
    }
    if (i < SHORT_LIVED) {
      CHECK_EQ(pthread_create(&threads[i % AT_ONCE], NULL, mix_short, (void *)i), 0);
    }
  }
  release_all();
}

/* One size only, so that threads and their samples meet on the same pages; dirty blocks come back through
 * calloc. */
static void *calloc_and_dirty(void *arg) {
  uint64_t random = SEED + (uintptr_t)arg;
  for (int i = 0; i < OPS / 4; i++) {
    uint64_t *block = zeroed(2048);
    fill(block);
    block = exchange(test_random(&random) % 64, block);
    if (block != NULL) {
      check(block);
      free(block);
    }
  }
  return NULL;
}

TEST_WITHIN(120, calloc_is_zero_although_others_dirty_the_same_pages) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, calloc_and_dirty, (void *)i), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  release_all();
}
