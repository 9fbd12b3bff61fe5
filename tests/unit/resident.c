/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: HeapReleased and the memory limit that drift away from the memory that is
 * really taken, because two threads change bits of one word or because a range ends at a word's border.
 *
 * The arena here is a range of numbers: nothing is mapped there, and only its bits are looked at.
 */
#include "alloc/resident.h"

#include <pthread.h>

#include "base/lock.h"
#include "base/os.h"
#include "tests/test.h"

#define SEED 20261202
#define ARENA (HA_ARENA_MAX - 1)
#define OS_PAGES 1000 /* ends inside a word */
#define START ((char *)((uintptr_t)1 << 40))
#define WORD_BITS 64
#define ROUNDS 20000

static bool naive[OS_PAGES];

static void add_arena(void) {
  ha_lock(HA_RANK_ARENA);
  bool done = ha_resident_add_arena(ARENA, START, OS_PAGES * HA_OS_PAGE);
  ha_unlock(HA_RANK_ARENA);
  CHECK(done, "no memory");
}

static const char *address_of(size_t os_page) {
  return START + os_page * HA_OS_PAGE;
}

/* Sets, or clears, a range of the naive bitmap; returns how many changed. */
static size_t change(size_t first, size_t end, bool value) {
  size_t changed = 0;
  for (size_t i = first; i < end; i++) {
    changed += naive[i] != value;
    naive[i] = value;
  }
  return changed;
}

static size_t count(size_t first, size_t end) {
  size_t sum = 0;
  for (size_t i = first; i < end; i++) {
    sum += naive[i];
  }
  return sum;
}

static void check_range(size_t first, size_t end) {
  CHECK_EQ(ha_resident_count(ARENA, address_of(first), (end - first) * HA_OS_PAGE), count(first, end));
}

static void set_range(size_t first, size_t end) {
  size_t changed = change(first, end, true);
  CHECK_EQ(ha_resident_set(ARENA, address_of(first), (end - first) * HA_OS_PAGE), changed);
}

static void clear_range(size_t first, size_t end) {
  size_t changed = change(first, end, false);
  CHECK_EQ(ha_resident_clear(ARENA, address_of(first), (end - first) * HA_OS_PAGE), changed);
}

TEST(a_new_arena_has_nothing_resident) {
  uint64_t before = ha_resident_pages();
  add_arena();
  check_range(0, OS_PAGES);
  CHECK_EQ(ha_resident_pages(), before);
}

/* Every pair of offsets into words, over one border and over two. */
TEST(ranges_that_begin_and_end_anywhere_in_a_word_change_no_other_bit) {
  add_arena();
  for (size_t first = 1; first <= WORD_BITS + 1; first++) {
    for (size_t size = 0; size <= 2 * WORD_BITS + 1; size++) {
      set_range(first, first + size);
      check_range(0, OS_PAGES);
      check_range(first, first + size);
      check_range(first - 1, first + size + 1);
      clear_range(first, first + size);
      check_range(0, OS_PAGES);
      set_range(0, OS_PAGES);
      clear_range(first, first + size);
      check_range(first - 1, first + size + 1);
      clear_range(0, OS_PAGES);
    }
  }
}

TEST(random_ranges_agree_with_a_naive_bitmap) {
  uint64_t random = SEED;
  uint64_t before = ha_resident_pages();
  add_arena();
  for (int round = 0; round < ROUNDS; round++) {
    size_t first = test_random(&random) % OS_PAGES;
    size_t end = first + test_random(&random) % (round % 2 == 0 ? OS_PAGES - first + 1 : 3);
    end = end < OS_PAGES ? end : OS_PAGES;
    switch (test_random(&random) % 3) {
    case 0:
      set_range(first, end);
      break;
    case 1:
      clear_range(first, end);
      break;
    default:
      check_range(first, end);
    }
    CHECK_EQ(ha_resident_pages() - before, (uint64_t)count(0, OS_PAGES));
  }
}

/* Blocks begin and end inside OS pages, which are touched all the same. */
TEST(an_os_page_counts_when_a_byte_of_it_is_touched) {
  static const struct {
    size_t from, size, first, end;
  } cases[] = {
      {0, 1, 0, 1},          {HA_OS_PAGE - 1, 1, 0, 1},       {HA_OS_PAGE - 1, 2, 0, 2},
      {1, HA_OS_PAGE, 0, 2}, {48, 2 * HA_OS_PAGE - 48, 0, 2}, {64 * HA_OS_PAGE - 16, 32, 63, 65},
  };
  add_arena();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    size_t changed = change(cases[i].first, cases[i].end, true);
    CHECK_EQ(ha_resident_set(ARENA, START + cases[i].from, cases[i].size), changed);
    CHECK_EQ(ha_resident_set(ARENA, START + cases[i].from, cases[i].size), (size_t)0);
    check_range(0, OS_PAGES);
    clear_range(0, OS_PAGES);
  }
}

/* ---- Two threads, one word ---- */

/* The bits of one thread: every other one from `first` on, or a half of each word. */
struct share {
  size_t first;
  size_t step;
  size_t length;
};

static pthread_barrier_t start_line;

/* Nobody else changes these bits, so each change must find what the thread itself left. */
static void *change_own_bits(void *arg) {
  const struct share *share = arg;
  pthread_barrier_wait(&start_line);
  for (int round = 0; round < ROUNDS; round++) {
    for (size_t i = share->first; i + share->length <= 2 * WORD_BITS; i += share->step) {
      const char *start = address_of(i);
      size_t size = share->length * HA_OS_PAGE;
      CHECK_EQ(ha_resident_set(ARENA, start, size), share->length);
      CHECK_EQ(ha_resident_count(ARENA, start, size), share->length);
      if (round + 1 < ROUNDS) {
        CHECK_EQ(ha_resident_clear(ARENA, start, size), share->length);
      }
    }
  }
  return NULL;
}

static void check_shares(struct share first, struct share second) {
  pthread_t threads[2];
  struct share shares[2] = {first, second};
  pthread_barrier_init(&start_line, NULL, 3);
  for (int i = 0; i < 2; i++) {
    pthread_create(&threads[i], NULL, change_own_bits, &shares[i]);
  }
  uint64_t before = ha_resident_pages(); /* with what libc has allocated for the threads */
  pthread_barrier_wait(&start_line);
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
  }
  size_t all = 2 * WORD_BITS;
  CHECK_EQ(ha_resident_count(ARENA, START, all * HA_OS_PAGE), all);
  CHECK_EQ(ha_resident_pages() - before, (uint64_t)all);
  CHECK_EQ(ha_resident_clear(ARENA, START, all * HA_OS_PAGE), all);
  CHECK_EQ(ha_resident_pages(), before);
}

TEST(two_threads_change_neighbouring_ranges_of_one_word) {
  add_arena();
  check_shares((struct share){0, WORD_BITS, WORD_BITS / 2},
               (struct share){WORD_BITS / 2, WORD_BITS, WORD_BITS / 2});
  check_shares((struct share){0, 2, 1}, (struct share){1, 2, 1});
}
