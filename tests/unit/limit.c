/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a container that is killed although a limit was set, a request that is
 * refused although memory was there, memory that is lost when an allocation fails.
 *
 * The bound of a hard limit: before memory is touched, the quantity that it will bring is compared with the
 * limit. What is added after that look is (a) the second OS page that a run of new small blocks may begin in,
 * and (b) metadata for the same allocation (descriptors, a bitmap of a new arena), which is mapped in pieces
 * of 256 KiB. Metadata is not refused, but counts for the next look. So: limit + one OS page + one such
 * piece, for each thread that is between its look and its change.
 */
#include "alloc/limit.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "alloc/arena.h"
#include "alloc/heap.h"
#include "alloc/page_map.h"
#include "alloc/release.h"
#include "alloc/stats.h"
#include "base/config.h"
#include "base/meta.h"
#include "base/os.h"
#include "tests/test.h"

#define SEED 20261205
#define KIB ((size_t)1024)
#define MIB (KIB * KIB)
#define META_PIECE (256 * KIB)
#define BOUND (HA_OS_PAGE + META_PIECE)
#define ROOM (24 * MIB)
#define BLOCKS_MAX 300000

static void *blocks[BLOCKS_MAX];

static struct hp_memstats stats(void) {
  struct hp_memstats now;
  ha_stats_read(&now);
  return now;
}

static void begin(void) {
  ha_config.background = HA_BACKGROUND_OFF;
  hp_set_mem_profile_rate(0);
  free(malloc(1));
  ha_heap_trim(ha_heap_of_thread());
  ha_release_all();
}

static void limit_to(uint64_t bytes, bool is_hard) {
  ha_limit_is_hard = is_hard;
  ha_store_relaxed(&ha_limit_bytes, (int64_t)bytes);
}

static void no_limit(void) {
  ha_store_relaxed(&ha_limit_bytes, HA_LIMIT_NONE);
}

static uint64_t exceeded(void) {
  return ha_limit_exceeded_count();
}

/* ---- The quantity ---- */

static void check_quantity(void) {
  struct hp_memstats now = stats();
  CHECK_EQ(ha_limit_quantity(), now.Sys - now.HeapReleased);
}

static size_t random_size(uint64_t *random) {
  static const size_t most[] = {100, 100, 2000, 2000, 30 * KIB, 300 * KIB, 2 * MIB, 40 * MIB};
  return test_random(random) % most[test_random(random) % HA_ARRAY_LEN(most)];
}

TEST(the_quantity_is_what_statistics_say_is_taken) {
  enum { COUNT = 2000, ROUNDS = 8000 };
  static const int64_t rates[] = {0, 512 * 1024, 4096, 1};
  uint64_t random = SEED;
  test_note("seed %d", SEED);
  begin();
  for (int round = 0; round < ROUNDS; round++) {
    void **block = &blocks[test_random(&random) % COUNT];
    free(*block);
    *block = test_random(&random) % 3 == 0 ? NULL : malloc(random_size(&random));
    if (round % 50 == 0) {
      check_quantity();
    }
    if (round % 1000 == 0) {
      hp_set_mem_profile_rate(rates[round / 1000 % 4]);
      hp_free_os_memory();
      check_quantity();
    }
  }
}

/* ---- hp_set_memory_limit ---- */

TEST(the_previous_limit_is_returned) {
  begin();
  CHECK_EQ(hp_set_memory_limit(-1), INT64_MAX);
  CHECK_EQ(hp_set_memory_limit((int64_t)1 << 40), INT64_MAX);
  CHECK_EQ(hp_set_memory_limit(INT64_MIN), (int64_t)1 << 40);
  CHECK_EQ(stats().MemoryLimit, (uint64_t)1 << 40);
  CHECK(ha_limit_is_set(), "the limit does not hold");
  CHECK_EQ(hp_set_memory_limit(INT64_MAX), (int64_t)1 << 40);
  CHECK(!ha_limit_is_set(), "the limit is not off");
  CHECK_EQ(hp_set_memory_limit(0), INT64_MAX);
  CHECK_EQ(hp_set_memory_limit(-1), (int64_t)0);
}

static void make_idle(size_t bytes) {
  size_t count = bytes / MIB;
  for (size_t i = 0; i < count; i++) {
    blocks[i] = malloc(MIB);
    memset(blocks[i], 1, MIB);
  }
  for (size_t i = 0; i < count; i++) {
    free(blocks[i]);
  }
  CHECK(ha_arena_totals().free_resident * HA_OS_PAGE >= bytes, "%zu bytes do not lie idle", bytes);
}

TEST(lowering_the_limit_gives_idle_memory_back_at_once) {
  begin();
  make_idle(50 * MIB);
  int64_t quantity = (int64_t)ha_limit_quantity();
  for (int64_t limit = quantity; limit > quantity - 45 * (int64_t)MIB; limit -= 9 * (int64_t)MIB) {
    hp_set_memory_limit(limit);
    CHECK(ha_limit_quantity() <= (uint64_t)limit, "%lu bytes are held above a limit of %ld",
          ha_limit_quantity() - (uint64_t)limit, limit);
  }
  CHECK_EQ(exceeded(), (uint64_t)0);
}

/* Three of four OS pages hold no block, but each page does. */
TEST(lowering_the_limit_gives_back_memory_inside_pages) {
  enum { COUNT = 30000, SIZE = 1000, KEPT_OF = 32 };
  begin();
  for (size_t i = 0; i < COUNT; i++) {
    memset(blocks[i] = malloc(SIZE), 1, SIZE);
  }
  for (size_t i = 0; i < COUNT; i++) {
    if (i % KEPT_OF != 0) {
      free(blocks[i]);
    }
  }
  uint64_t limit = ha_limit_quantity() - COUNT / 4 * 3 * SIZE;
  hp_set_memory_limit((int64_t)limit);
  CHECK(ha_limit_quantity() <= limit, "%lu bytes are held above the limit", ha_limit_quantity() - limit);
  CHECK_EQ(exceeded(), (uint64_t)0);
}

/* ---- A soft limit ---- */

TEST(idle_memory_goes_before_a_limit_is_exceeded) {
  begin();
  make_idle(50 * MIB);
  limit_to(ha_limit_quantity() + MIB, false);
  uint64_t limit = (uint64_t)hp_set_memory_limit(-1);
  errno = 0;
  char *block = malloc(45 * MIB); /* a mapping of its own: it cannot use what lies idle */
  CHECK(block != NULL, "no memory");
  CHECK(ha_limit_quantity() <= limit, "%lu bytes are held above the limit", ha_limit_quantity() - limit);
  CHECK_EQ(exceeded(), (uint64_t)0);
  CHECK(malloc(45 * MIB) != NULL, "a soft limit made malloc fail");
  CHECK_EQ(errno, 0);
  CHECK(exceeded() > 0 && ha_limit_quantity() > limit, "nobody has noticed that the limit is exceeded");
  CHECK_EQ(stats().MemoryLimitExceeded, exceeded());
}

TEST(a_limit_of_nothing_is_exceeded_and_everything_works) {
  begin();
  limit_to(0, false);
  for (size_t i = 0; i < 2000; i++) {
    errno = 0;
    blocks[i] = malloc(i * 100);
    CHECK(blocks[i] != NULL && errno == 0, "malloc(%zu) fails under a soft limit", i * 100);
    memset(blocks[i], 1, i * 100);
  }
  for (size_t i = 0; i < 2000; i++) {
    free(blocks[i]);
  }
  CHECK(exceeded() > 0, "nobody has noticed");
}

TEST(the_surplus_is_what_is_above_95_percent) {
  begin();
  CHECK_EQ(ha_limit_surplus(), (size_t)0);
  make_idle(20 * MIB);
  uint64_t quantity = ha_limit_quantity();
  limit_to(quantity, false);
  size_t surplus = ha_limit_surplus();
  CHECK(surplus >= quantity / 20 && surplus <= quantity / 20 + 100, "of %lu bytes %zu are surplus", quantity,
        surplus);
  limit_to(quantity / 95 * 100 + 200, false);
  CHECK_EQ(ha_limit_surplus(), (size_t)0);
}

/* ---- A hard limit ---- */

typedef void *allocate_fn(size_t size);

static void *with_malloc(size_t size) {
  return malloc(size);
}

static void *with_calloc(size_t size) {
  return calloc(size / 8, 8);
}

static void *with_realloc(size_t size) {
  return realloc(NULL, size);
}

static void *with_alignment(size_t size) {
  return aligned_alloc(256, ha_align_up(size, 256));
}

static void *with_large_alignment(size_t size) {
  return aligned_alloc(2 * HA_SLICE, ha_align_up(size, 2 * HA_SLICE));
}

static void check_bound(void) {
  uint64_t limit = (uint64_t)ha_load_relaxed(&ha_limit_bytes);
  uint64_t quantity = ha_limit_quantity();
  CHECK(quantity <= limit + BOUND, "a hard limit is exceeded by %lu bytes", quantity - limit);
}

/* As many blocks as the limit allows. */
static size_t fill(allocate_fn *allocate, size_t size) {
  size_t count = 0;
  errno = 0;
  while (count < BLOCKS_MAX && (blocks[count] = allocate(size)) != NULL) {
    CHECK_EQ(errno, 0);
    memset(blocks[count++], 1, size);
    check_bound();
  }
  CHECK(count < BLOCKS_MAX, "no limit was met");
  CHECK_EQ(errno, ENOMEM);
  check_bound();
  return count;
}

static void empty(size_t count) {
  for (size_t i = 0; i < count; i++) {
    free(blocks[i]);
  }
  ha_heap_trim(ha_heap_of_thread());
}

/* What a failed allocation could leave behind. */
struct remains {
  uint64_t in_use;
  uint64_t slices;
  uint64_t meta;
};

static struct remains remains(void) {
  struct ha_arena_totals arenas = ha_arena_totals();
  return (struct remains){stats().HeapInuse, arenas.slices - arenas.free_slices, ha_meta_mapped_bytes()};
}

static void check_failures_leave_nothing(allocate_fn *allocate, size_t size) {
  struct remains before = remains();
  for (int i = 0; i < 300; i++) {
    CHECK(allocate(size) == NULL && errno == ENOMEM, "size %zu is had though the limit is met", size);
  }
  struct remains after = remains();
  CHECK_EQ(after.in_use, before.in_use);
  CHECK_EQ(after.slices, before.slices);
  CHECK_EQ(after.meta, before.meta);
}

/* Two times, so that the second finds what the first has left. */
static void check_hard(allocate_fn *allocate, size_t size, size_t room) {
  struct remains before = remains();
  limit_to(ha_limit_quantity() + room, true);
  size_t first = fill(allocate, size);
  size_t block_size = malloc_usable_size(blocks[0]);
  check_failures_leave_nothing(allocate, size);
  empty(first);
  CHECK_EQ(remains().slices, before.slices);
  CHECK(remains().in_use <= before.in_use, "%lu bytes stay in use", remains().in_use - before.in_use);
  size_t second = fill(allocate, size);
  empty(second);
  test_note("size %zu in %zu MiB: %zu blocks, then %zu", size, room / MIB, first, second);
  CHECK(first * block_size >= room / 10 * 9 || (first + 1) * block_size > room, "only %zu blocks of %zu",
        first, size);
  CHECK(second + second / 100 + 1 >= first, "only %zu blocks of %zu after %zu", second, size, first);
  no_limit();
  hp_free_os_memory();
}

TEST(no_size_is_had_beyond_a_hard_limit) {
  static const size_t sizes[] = {100, 1000, 8 * KIB, 20 * KIB, 100 * KIB, 300 * KIB, MIB, 5 * MIB + 1};
  begin();
  for (size_t i = 0; i < HA_ARRAY_LEN(sizes); i++) {
    check_hard(with_malloc, sizes[i], ROOM);
  }
  check_hard(with_malloc, 40 * MIB, 5 * ROOM + MIB);
}

TEST(no_function_gives_blocks_beyond_a_hard_limit) {
  static allocate_fn *const functions[] = {with_calloc, with_realloc, with_alignment, with_large_alignment};
  begin();
  for (size_t i = 0; i < HA_ARRAY_LEN(functions); i++) {
    check_hard(functions[i], 300, ROOM);
    check_hard(functions[i], 20 * KIB, ROOM);
    check_hard(functions[i], MIB, ROOM);
  }
}

TEST(samples_are_refused_like_other_blocks) {
  begin();
  for (int64_t rate = 1; rate <= 4096; rate *= 64) {
    hp_set_mem_profile_rate(rate);
    limit_to(ha_limit_quantity() + ROOM, true);
    struct hp_memstats before = stats();
    size_t count = fill(with_malloc, 1000);
    test_note("rate %ld: %zu blocks", rate, count);
    CHECK_EQ(stats().Mallocs - before.Mallocs, (uint64_t)count);
    empty(count);
    CHECK_EQ(stats().HeapAlloc, before.HeapAlloc);
    size_t again = fill(with_malloc, 1000);
    CHECK(again + again / 50 >= count, "only %zu blocks after %zu", again, count);
    empty(again);
    no_limit();
  }
}

/* A block grows into free slices behind it, or as a mapping, until the limit is met; its content stays. */
static void check_growth(size_t size, size_t step, size_t room) {
  ha_release_all();
  limit_to(ha_limit_quantity() + room, true);
  char *block = malloc(size);
  memset(block, 0x5a, size);
  char *grown;
  errno = 0;
  while ((grown = realloc(block, size + step)) != NULL) {
    CHECK_EQ(errno, 0);
    memset(grown + size, 0x5a, step);
    block = grown;
    size += step;
    check_bound();
  }
  CHECK_EQ(errno, ENOMEM);
  CHECK(malloc_usable_size(block) >= size, "the block has shrunk");
  for (size_t i = 0; i < size; i += 8) {
    CHECK(block[i] == 0x5a, "byte %zu of %zu has changed", i, size);
  }
  test_note("a block of %zu KiB in %zu MiB", size / KIB, room / MIB);
  CHECK(realloc(block, size / 2 + size / 4) != NULL, "a smaller block cannot be had");
  CHECK(size >= room / 5 * 2 && size <= room + BOUND, "it grew to %zu KiB", size / KIB);
  free(block);
  no_limit();
}

TEST(no_block_grows_beyond_a_hard_limit) {
  begin();
  check_growth(300 * KIB, 100 * KIB, ROOM);
  check_growth(300 * KIB, HA_OS_PAGE, ROOM / 4);
  check_growth(40 * MIB, MIB, 5 * ROOM);
  check_growth(1000, 500, ROOM / 8);
}

/* Blocks of 200 bytes, of which one in a hundred stays: no page is empty, and nearly no memory is in use. */
static size_t leave_few(size_t count) {
  size_t left = 0;
  for (size_t i = 0; i < count; i++) {
    if (i % 100 == 0) {
      blocks[left++] = blocks[i];
    } else {
      free(blocks[i]);
    }
  }
  return left;
}

TEST(nothing_is_refused_while_free_memory_lies_inside_pages) {
  begin();
  limit_to(ha_limit_quantity() + ROOM, true);
  leave_few(fill(with_malloc, 200));
  CHECK(malloc(3000) != NULL, "3000 bytes are refused though %zu were freed", ROOM / 100 * 99);
  CHECK(malloc(MIB) != NULL, "1 MiB is refused though %zu bytes were freed", ROOM / 100 * 99);
  check_bound();
}

/* What was given back inside pages takes memory anew when it is used again. */
TEST(parked_blocks_are_not_had_beyond_a_hard_limit) {
  begin();
  limit_to(ha_limit_quantity() + ROOM, true);
  leave_few(fill(with_malloc, 200));
  hp_free_os_memory();
  CHECK(malloc(ROOM / 2) != NULL, "nothing was given back");
  fill(with_malloc, 200);
}

/* ---- Threads ---- */

#define THREADS 4

static void *fill_in_thread(void *arg) {
  size_t share = BLOCKS_MAX / THREADS;
  void **mine = blocks + (uintptr_t)arg * share;
  size_t count = 0;
  uint64_t limit = (uint64_t)ha_load_relaxed(&ha_limit_bytes);
  while (count < share && (mine[count] = malloc(MIB / 2)) != NULL) {
    memset(mine[count++], 1, MIB / 2);
    uint64_t quantity = ha_limit_quantity();
    CHECK(quantity <= limit + THREADS * (MIB / 2 + BOUND), "a hard limit is exceeded by %lu bytes",
          quantity - limit);
  }
  CHECK_EQ(errno, ENOMEM);
  for (size_t i = 0; i < count; i++) {
    free(mine[i]);
  }
  return NULL;
}

static void in_threads(void *(*run)(void *)) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, run, (void *)i), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

TEST(threads_share_a_hard_limit) {
  begin();
  for (int round = 0; round < 20; round++) {
    limit_to(ha_limit_quantity() + ROOM, true);
    in_threads(fill_in_thread);
    no_limit();
  }
}

/* Limits come and go, and everybody makes room at once: whoever gets a block has it alone. */
static void *churn_under_limits(void *arg) {
  enum { COUNT = 200, OPERATIONS = 20000 };
  static void *held[THREADS][COUNT];
  static size_t sizes[THREADS][COUNT];
  uint64_t random = SEED + (uintptr_t)arg;
  void **mine = held[(uintptr_t)arg];
  size_t *size_of = sizes[(uintptr_t)arg];
  for (int i = 0; i < OPERATIONS; i++) {
    size_t k = test_random(&random) % COUNT;
    if (mine[k] != NULL) {
      uint64_t *words = mine[k];
      CHECK(words[0] == (uintptr_t)words && words[size_of[k] / 8 - 1] == (uintptr_t)words,
            "a block in use has changed");
      free(words);
    }
    size_of[k] = 16 + random_size(&random) % (300 * KIB);
    mine[k] = malloc(size_of[k]);
    if (mine[k] != NULL) {
      ((uint64_t *)mine[k])[0] = ((uint64_t *)mine[k])[size_of[k] / 8 - 1] = (uintptr_t)mine[k];
    }
    if (i % 500 == 0) {
      hp_set_memory_limit(i % 2000 == 0 ? INT64_MAX : (int64_t)(test_random(&random) % (32 * MIB)));
    }
  }
  for (size_t k = 0; k < COUNT; k++) {
    free(mine[k]);
    mine[k] = NULL;
  }
  return NULL;
}

TEST_WITHIN(120, limits_can_change_while_threads_allocate) {
  begin();
  in_threads(churn_under_limits); /* what libc keeps for threads */
  for (int is_hard = 0; is_hard < 2; is_hard++) {
    struct hp_memstats before = stats();
    ha_limit_is_hard = is_hard;
    in_threads(churn_under_limits);
    hp_set_memory_limit(INT64_MAX);
    CHECK_EQ(stats().HeapAlloc, before.HeapAlloc);
    check_quantity();
  }
}
