/* SPDX-License-Identifier: MIT */
/*
 * Each site is a function in a section of its own, by whose bounds a row's innermost frame is known. A site
 * works in two phases, which differ in one frame of the stack: the rows of the one have one rate, and so one
 * weight.
 */
#include "tests/sampling/sites.h"

#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "alloc/size_class.h"
#include "halloc.h"
#include "tests/test.h"

#define PHASES 2
#define CLASSES 160 /* more than those of 8 MiB */
#define KEPT_MAX 400000
#define THREADS 5 /* of a phase, one after another */
#define CHAIN_FIRST 32
#define CHAIN_LAST 32768
#define MIXED_BITS 17 /* sizes up to 64 KiB */
#define ALIGNED_MAX 4000
#define KIB 1024
#define MIB (1024 * 1024)

enum kind { PLAIN, MIXED, CHAIN, ALIGNED_IN_THREADS };

struct site {
  const char *name;
  void *(*allocate)(void *old, size_t size, size_t alignment);
  const char *start, *stop;
  enum kind kind;
  size_t size;
  int64_t rates[PHASES];
  unsigned blocks[PHASES]; /* or chains */
  unsigned one_in;         /* of so many blocks one is kept */
};

/* Blocks of one size are all the same, so they are only counted. */
struct tally {
  uint64_t allocated[CLASSES], kept[CLASSES];
  size_t sizes[CLASSES]; /* of the blocks of the class; one size for each */
};

struct work {
  const struct site *site;
  struct tally *tally;
  uint64_t random;
  unsigned blocks;
};

/* What the optimiser may not look through, so that the caller's frame stays. */
#define KEEP_FRAME() __asm__ volatile("" : : : "memory")

#define SITE(number)                                                                                         \
  extern const char __start_site_##number[] __attribute__((visibility("hidden")));                           \
  extern const char __stop_site_##number[] __attribute__((visibility("hidden")));                            \
  __attribute__((noinline, section("site_" #number))) static void *allocate_##number(void *old, size_t size, \
                                                                                     size_t alignment) {     \
    void *block = old != NULL     ? realloc(old, size)                                                       \
                  : alignment > 0 ? memalign(alignment, size)                                                \
                                  : malloc(size);                                                            \
    KEEP_FRAME();                                                                                            \
    return block;                                                                                            \
  }
#define BOUNDS(number) allocate_##number, __start_site_##number, __stop_site_##number

SITE(0)
SITE(1)
SITE(2)
SITE(3)
SITE(4)
SITE(5)
SITE(6)
SITE(7)
SITE(8)
SITE(9)
SITE(10)
SITE(11)

static const struct site sites[SITES] = {
    {"1 B", BOUNDS(0), PLAIN, 1, {4 * KIB, 4 * KIB}, {154000, 154000}, 8},
    {"24 B", BOUNDS(1), PLAIN, 24, {16 * KIB, 16 * KIB}, {307000, 307000}, 8},
    {"100 B", BOUNDS(2), PLAIN, 100, {4 * KIB, 64 * KIB}, {36000, 580000}, 8},
    {"aligned", BOUNDS(3), ALIGNED_IN_THREADS, 0, {64 * KIB, 64 * KIB}, {3000, 3000}, 8}, /* of each thread */
    {"mixed", BOUNDS(4), MIXED, 0, {64 * KIB, 64 * KIB}, {11000, 11000}, 8},
    {"3000 B", BOUNDS(5), PLAIN, 3000, {512 * KIB, 512 * KIB}, {103000, 103000}, 16},
    {"20 KiB", BOUNDS(6), PLAIN, 20 * KIB, {512 * KIB, 128 * KIB}, {20000, 5000}, 16},
    {"100 KiB", BOUNDS(7), PLAIN, 100 * KIB, {2 * MIB, 2 * MIB}, {12000, 12000}, 16},
    {"200 KiB", BOUNDS(8), PLAIN, 200 * KIB, {512 * KIB, 512 * KIB}, {1860, 1860}, 8},
    {"1 MiB", BOUNDS(9), PLAIN, 1 * MIB, {2 * MIB, 512 * KIB}, {1530, 700}, 8},
    {"8 MiB", BOUNDS(10), PLAIN, 8 * MIB, {2 * MIB, 2 * MIB}, {750, 750}, 16},
    {"realloc", BOUNDS(11), CHAIN, 0, {16 * KIB, 4 * KIB}, {260, 140}, 8},
};

static struct tally tallies[SITES][PHASES];
static void *kept[KEPT_MAX];
static unsigned kept_count;

static unsigned note(struct work *work, const void *block) {
  CHECK(block != NULL, "no memory");
  size_t size = malloc_usable_size((void *)(uintptr_t)block);
  unsigned size_class = ha_class_of(size);
  work->tally->allocated[size_class]++;
  work->tally->sizes[size_class] = size;
  return size_class;
}

static void keep_or_free(struct work *work, void *block, unsigned size_class) {
  if (test_random(&work->random) % work->site->one_in == 0) {
    CHECK(kept_count < KEPT_MAX, "too many blocks are kept");
    kept[kept_count++] = block;
    work->tally->kept[size_class]++;
  } else {
    free(block);
  }
}

static void *grow_chain(struct work *work, unsigned *size_class) {
  void *block = NULL;
  for (size_t size = CHAIN_FIRST; size <= CHAIN_LAST; size *= 2) {
    block = work->site->allocate(block, size, 0);
    *size_class = note(work, block);
  }
  return block;
}

static void *allocate(struct work *work, unsigned *size_class) {
  size_t size = work->site->size;
  size_t alignment = 0;
  switch (work->site->kind) {
  case CHAIN:
    return grow_chain(work, size_class);
  case MIXED:
    size = 1 + test_random(&work->random) % ((size_t)1 << test_random(&work->random) % MIXED_BITS);
    break;
  case ALIGNED_IN_THREADS:
    size = 1 + test_random(&work->random) % ALIGNED_MAX;
    alignment = (size_t)32 << test_random(&work->random) % 8;
    break;
  case PLAIN:
    break;
  }
  void *block = work->site->allocate(NULL, size, alignment);
  *size_class = note(work, block);
  return block;
}

static __attribute__((noinline)) void work_on(struct work *work) {
  for (unsigned i = 0; i < work->blocks; i++) {
    unsigned size_class;
    void *block = allocate(work, &size_class);
    keep_or_free(work, block, size_class);
  }
  KEEP_FRAME();
}

static __attribute__((noinline)) void *first_phase(void *work) {
  work_on(work);
  KEEP_FRAME();
  return NULL;
}

static __attribute__((noinline)) void *second_phase(void *work) {
  work_on(work);
  __asm__ volatile("nop" : : : "memory"); /* not the same function as the first */
  return NULL;
}

static void run_threads(struct work *work, void *(*phase)(void *)) {
  for (int i = 0; i < THREADS; i++) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, phase, work), 0);
    pthread_join(thread, NULL);
  }
}

static void run_site(unsigned site, uint64_t seed) {
  static void *(*const phases[PHASES])(void *) = {first_phase, second_phase};
  for (unsigned phase = 0; phase < PHASES; phase++) {
    struct work work = {&sites[site], &tallies[site][phase], seed + phase, sites[site].blocks[phase]};
    hp_set_mem_profile_rate(sites[site].rates[phase]);
    if (sites[site].kind == ALIGNED_IN_THREADS) {
      run_threads(&work, phases[phase]);
    } else {
      phases[phase](&work);
    }
  }
}

/* count blocks of `amount` each, which is 1 or their size. */
static void add_truth(struct truth *truth, double count, double amount, double p) {
  truth->exact += count * amount;
  truth->variance += count * amount * amount * (1 - p) / p;
  truth->third += count * amount * amount * amount * (1 - p) * (1 - 2 * p) / (p * p);
}

static void add_tally(struct truth truths[VALUES], const struct tally *tally, int64_t rate) {
  for (unsigned i = 0; i < CLASSES; i++) {
    if (tally->allocated[i] != 0) {
      double size = (double)tally->sizes[i];
      double p = -expm1(-size / (double)rate);
      add_truth(&truths[ALLOC_OBJECTS], (double)tally->allocated[i], 1, p);
      add_truth(&truths[ALLOC_SPACE], (double)tally->allocated[i], size, p);
      add_truth(&truths[INUSE_OBJECTS], (double)tally->kept[i], 1, p);
      add_truth(&truths[INUSE_SPACE], (double)tally->kept[i], size, p);
    }
  }
}

void sites_run(uint64_t seed, struct truth truths[SITES][VALUES]) {
  memset(tallies, 0, sizeof tallies);
  memset(truths, 0, SITES * sizeof truths[0]);
  for (unsigned site = 0; site < SITES; site++) {
    run_site(site, test_random(&seed));
    for (unsigned phase = 0; phase < PHASES; phase++) {
      add_tally(truths[site], &tallies[site][phase], sites[site].rates[phase]);
    }
  }
}

void sites_free(void) {
  while (kept_count > 0) {
    free(kept[--kept_count]);
  }
}

const char *site_name(unsigned site) {
  return sites[site].name;
}

unsigned site_of_row(const struct ha_row *row) {
  unsigned site = 0;
  while (site < SITES &&
         (row->frames[0] < (uintptr_t)sites[site].start || row->frames[0] >= (uintptr_t)sites[site].stop)) {
    site++;
  }
  return site;
}
