/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: statistics that say memory was given back that the kernel still counts, so
 * that a container is killed although its heap looked small; or the other way round, a limit that is met with
 * memory that nobody has.
 *
 * At 50 points of a run that grows, shrinks and leaves holes, HeapSys - HeapReleased is compared with the
 * resident bytes of the mappings that blocks lie in or ever lay in, as /proc/self/smaps has them. The program
 * writes every byte of every block, since memory that was allocated and never touched is no difference that
 * an allocator can know.
 *
 * What may differ: the end of a page of which not all blocks were cut yet is in use and was never touched.
 * Tolerated are 2 % or 1 MiB, the larger; by how much HeapInuse exceeds HeapAlloc is printed with each point
 * that differs by more. Mappings are told apart by their addresses: where the kernel joins an arena with
 * anonymous memory of another kind they count together, so the program and its tools have no such mappings of
 * their own.
 */
#include <malloc.h>
#include <stdlib.h>

#include "tests/api/hp.h"
#include "tests/api/kernel.h"
#include "tests/api/limit.h"

#define SEED 20261122
#define POINTS 50
#define STEPS 10 /* of a cycle; each of the POINTS / STEPS cycles has sizes of its own */
#define BLOCKS_MAX 400000
#define RANGES_MAX 512
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define TOLERANCE_PERCENT 2
#define TOLERANCE_BYTES MIB

static char *blocks[BLOCKS_MAX];
static size_t block_count;
static size_t live_bytes;
static uint64_t random_state = SEED;

struct sizes {
  const char *name;
  size_t least, most; /* each doubling as likely as the next */
};

/* ---- The run ---- */

static size_t random_size(const struct sizes *sizes) {
  unsigned low = 63 - (unsigned)__builtin_clzl(sizes->least);
  unsigned high = 63 - (unsigned)__builtin_clzl(sizes->most);
  size_t base = (size_t)1 << (low + test_random(&random_state) % (high - low + 1));
  size_t size = base + test_random(&random_state) % base;
  return size < sizes->least ? sizes->least : size > sizes->most ? sizes->most : size;
}

static void add_block(size_t size) {
  CHECK(block_count < BLOCKS_MAX, "too many blocks");
  char *block = malloc(size);
  CHECK(block != NULL, "no memory");
  size_t usable = malloc_usable_size(block);
  memset(block, (int)size, usable);
  blocks[block_count++] = block;
  live_bytes += usable;
}

static void remove_block(size_t i) {
  live_bytes -= malloc_usable_size(blocks[i]);
  free(blocks[i]);
  blocks[i] = blocks[--block_count];
}

static void grow_to(size_t bytes, const struct sizes *sizes) {
  while (live_bytes < bytes) {
    add_block(random_size(sizes));
  }
}

/* Frees so many of 100 blocks, drawn at random. */
static void thin_out(unsigned percent) {
  for (size_t i = block_count; i-- > 0;) {
    if (test_random(&random_state) % 100 < percent) {
      remove_block(i);
    }
  }
}

static const struct sizes cycles[POINTS / STEPS] = {
    {"1 KiB", KIB, KIB},
    {"small", 16, 8 * KIB - 1},
    {"small and medium", 16, 128 * KIB - 1},
    {"large and huge", 256 * KIB, 48 * MIB},
    {"all", 16, 8 * MIB},
};

static const char *step(int point) {
  const struct sizes *sizes = &cycles[point / STEPS];
  const struct sizes larger = {"", sizes->least * 10, sizes->most * 10};
  const struct sizes *refill = sizes->most > MIB ? sizes : &larger;
  switch (point % STEPS) {
  case 0:
    grow_to(8 * MIB, sizes);
    return "grow to 8 MiB";
  case 1:
    grow_to(32 * MIB, sizes);
    return "grow to 32 MiB";
  case 2:
    grow_to(96 * MIB, sizes);
    return "grow to 96 MiB";
  case 3:
    thin_out(50);
    return "free half at random";
  case 4:
    thin_out(90);
    return "free nine of ten of these";
  case 5:
    hp_free_os();
    return "ask to give back what is idle";
  case 6:
    grow_to(64 * MIB, refill);
    return "refill with larger blocks";
  case 7:
    thin_out(50);
    hp_free_os();
    return "free half and ask again";
  case 8:
    grow_to(48 * MIB, sizes);
    return "grow again";
  default:
    thin_out(100);
    return "free all";
  }
}

/* ---- What the kernel has ---- */

static struct kernel_map maps[KERNEL_MAPS_MAX];
static struct kernel_map known[RANGES_MAX]; /* mappings that ever held a block and are still there */
static size_t known_count;

static bool is_known(const struct kernel_map *map) {
  for (size_t i = 0; i < known_count; i++) {
    if (known[i].start < map->end && map->start < known[i].end) {
      return true;
    }
  }
  return false;
}

/* Resident bytes of the mappings of blocks. Arenas that never held a block of ours have nothing resident. */
static size_t resident_of_blocks(void) {
  static bool holds_block[KERNEL_MAPS_MAX];
  size_t count = kernel_maps(maps, KERNEL_MAPS_MAX);
  memset(holds_block, 0, sizeof holds_block);
  for (size_t i = 0; i < block_count; i++) {
    const struct kernel_map *map = kernel_map_of(maps, count, blocks[i]);
    CHECK(map != NULL && map->is_anonymous, "block %p is in no anonymous mapping", (void *)blocks[i]);
    holds_block[map - maps] = true;
  }
  size_t sum = 0;
  size_t now_known = 0;
  static struct kernel_map found[RANGES_MAX];
  for (size_t i = 0; i < count; i++) {
    if (maps[i].is_anonymous && (holds_block[i] || is_known(&maps[i]))) {
      CHECK(now_known < RANGES_MAX, "more than %d mappings of blocks", RANGES_MAX);
      found[now_known++] = maps[i];
      sum += maps[i].resident;
    }
  }
  memcpy(known, found, sizeof known);
  known_count = now_known;
  return sum;
}

static void show_maps(void) {
  for (size_t i = 0; i < known_count; i++) {
    test_note("  mapping %lx-%lx: %zu KiB, %zu KiB of them resident", known[i].start, known[i].end,
              (known[i].end - known[i].start) / KIB, known[i].resident / KIB);
  }
}

/* ---- The comparison ---- */

struct point {
  struct hp_memstats stats;
  uint64_t least, most; /* HeapSys - HeapReleased before and after: memory may be given back meanwhile */
  uint64_t resident;
};

static struct point look(void) {
  struct point now;
  uint64_t before, after;
  struct hp_memstats stats = hp_stats();
  before = hp_backed(&stats);
  now.resident = resident_of_blocks();
  now.stats = hp_stats();
  after = hp_backed(&now.stats);
  now.least = before < after ? before : after;
  now.most = before < after ? after : before;
  return now;
}

/* How far the resident bytes are outside [least, most]; positive: more than the statistics say. */
static int64_t difference(const struct point *point) {
  if (point->resident > point->most) {
    return (int64_t)(point->resident - point->most);
  }
  return point->resident < point->least ? -(int64_t)(point->least - point->resident) : 0;
}

static bool is_tolerable(const struct point *point) {
  uint64_t error = (uint64_t)labs((long)difference(point));
  return error <= TOLERANCE_BYTES || error * 100 <= point->resident * TOLERANCE_PERCENT;
}

static void show(int i, const char *what, const struct point *point) {
  test_note("point %2d, %s: %s: live %zu KiB, HeapSys - HeapReleased %lu KiB, resident %lu KiB: %+ld KiB "
            "(%.1f %%); "
            "HeapInuse - HeapAlloc %lu KiB, HeapIdle - HeapReleased %lu KiB",
            i, cycles[i / STEPS].name, what, live_bytes / KIB, (unsigned long)point->most / KIB,
            (unsigned long)point->resident / KIB, (long)(difference(point) / (int64_t)KIB),
            100.0 * (double)difference(point) / (double)point->resident,
            (unsigned long)(point->stats.HeapInuse - point->stats.HeapAlloc) / KIB,
            (unsigned long)(point->stats.HeapIdle - point->stats.HeapReleased) / KIB);
}

TEST_WITHIN(120, resident_memory_is_what_is_not_released) {
  int wrong = 0;
  int64_t largest = 0;
  test_note("seed %d, %d points", SEED, POINTS);
  free(malloc(1));
  for (int i = 0; i < POINTS; i++) {
    const char *what = step(i);
    struct point point = look();
    if (llabs(difference(&point)) > llabs(largest)) {
      largest = difference(&point);
    }
    if (!is_tolerable(&point)) {
      show(i, what, &point);
      wrong++;
    }
  }
  test_note("largest difference %+ld KiB", (long)(largest / (int64_t)KIB));
  if (wrong > 0) {
    show_maps();
  }
  CHECK(wrong == 0, "at %d of %d points the difference is above %d %% and 1 MiB", wrong, POINTS,
        TOLERANCE_PERCENT);
}

/* Nothing was ever freed or given back: what can differ are the ends of pages that are not used up yet. */
TEST(a_heap_that_only_grows_is_resident_as_the_statistics_say) {
  int wrong = 0;
  free(malloc(1));
  for (size_t i = 0; i < sizeof cycles / sizeof *cycles; i++) {
    grow_to((i + 1) * 32 * MIB, &cycles[i]);
    struct point point = look();
    show((int)i * STEPS, "grow only", &point);
    wrong += !is_tolerable(&point);
  }
  CHECK(wrong == 0, "at %d points the difference is above %d %% and 1 MiB", wrong, TOLERANCE_PERCENT);
}
