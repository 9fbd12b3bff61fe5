/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: statistics that drift, or a profile whose totals are not those of the
 * program. All is compared with counts the program keeps itself, at the rate of HALLOC_MEMPROFILERATE: at
 * rate 1 the profile must equal the exact counters to the byte, at 0 be empty, in between lie within the
 * bounds of chance.
 *
 * Those bounds: a block of s bytes adds s/p with probability p, so a sum has the variance sum s^2 (1-p)/p. A
 * few rare and heavy samples make such sums far from normal, hence Bernstein's inequality: the chance of an
 * error above sigma sqrt(2 L) + M L 2/3, with M the largest error one block can add, is below 2 exp(-L). L
 * = 10.4: 4.6 sigma, 6e-5. The library draws from a fresh seed in each process.
 */
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/api/hp.h"

#define SEED 20240613
#define BERNSTEIN_L 10.4
#define NEVER 1e-12 /* a block missed with less than this chance is never missed */
#define THREADS 8
#define SLOTS 4096
#define OPS_ALONE 400000
#define OPS_TOGETHER 100000 /* of each thread */
#define MIB ((size_t)1 << 20)

/* What the program knows about a run. */
struct shadow {
  int64_t mallocs, frees, alloc_bytes, free_bytes;
  double variance[2], largest[2]; /* of the sampled estimates of what was allocated: objects, space */
  int64_t rate;
};

static void *slots[SLOTS];

static void add_variance(struct shadow *shadow, double size) {
  const double amounts[2] = {1, size};
  double p = shadow->rate > 1 ? -expm1(-size / (double)shadow->rate) : 1;
  for (int i = 0; i < 2; i++) {
    shadow->variance[i] += amounts[i] * amounts[i] * (1 - p) / p;
    if (1 - p > NEVER) {
      shadow->largest[i] = fmax(shadow->largest[i], fmax(amounts[i], amounts[i] / p - amounts[i]));
    }
  }
}

static void *note_alloc(struct shadow *shadow, void *block) {
  CHECK(block != NULL, "no memory");
  size_t size = malloc_usable_size(block);
  shadow->mallocs++;
  shadow->alloc_bytes += (int64_t)size;
  add_variance(shadow, (double)size);
  return block;
}

static void note_free(struct shadow *shadow, size_t size) {
  shadow->frees++;
  shadow->free_bytes += (int64_t)size;
}

static void release(struct shadow *shadow, void *block) {
  if (block != NULL) {
    note_free(shadow, malloc_usable_size(block));
    free(block);
  }
}

/* A block that stays as it is counts nothing; resized, in place or not, it is one freed and one allocated. */
static void *resize(struct shadow *shadow, void *block, size_t size) {
  size_t old_size = malloc_usable_size(block);
  void *resized = realloc(block, size);
  CHECK(resized != NULL, "no memory");
  if (resized != block || malloc_usable_size(resized) != old_size) {
    note_free(shadow, old_size);
    note_alloc(shadow, resized);
  }
  return resized;
}

/* 1 B to 1 MiB, each doubling as likely as the next, with a few of tens of MiB. */
static size_t random_size(uint64_t *random) {
  if (test_random(random) % 20000 == 0) {
    return 20 * MIB + test_random(random) % (20 * MIB);
  }
  unsigned doubling = (unsigned)(test_random(random) % 20);
  if (doubling > 12 && test_random(random) % 8 != 0) {
    doubling -= 8;
  }
  return ((size_t)1 << doubling) + test_random(random) % ((size_t)1 << doubling);
}

static void *allocate(struct shadow *shadow, uint64_t *random) {
  size_t size = random_size(random);
  switch (test_random(random) % 8) {
  case 0:
    return note_alloc(shadow, calloc(1, size));
  case 1:
    return note_alloc(shadow, memalign((size_t)16 << test_random(random) % 14, size % 65536));
  default:
    return note_alloc(shadow, malloc(size));
  }
}

static void *exchange(size_t slot, void *block) {
  return __atomic_exchange_n(&slots[slot], block, __ATOMIC_ACQ_REL);
}

static void mix(struct shadow *shadow, uint64_t seed, int ops) {
  uint64_t random = seed;
  for (int i = 0; i < ops; i++) {
    size_t slot = test_random(&random) % SLOTS;
    void *block = NULL;
    switch (test_random(&random) % 8) {
    case 0:
      break;
    case 1:
      block = exchange(slot, NULL);
      if (block != NULL) {
        block = resize(shadow, block, random_size(&random));
      }
      break;
    default:
      block = allocate(shadow, &random);
    }
    release(shadow, exchange(slot, block));
  }
}

static void release_all(struct shadow *shadow) {
  for (size_t i = 0; i < SLOTS; i++) {
    release(shadow, exchange(i, NULL));
  }
}

static void add(struct shadow *sum, const struct shadow *part) {
  sum->mallocs += part->mallocs;
  sum->frees += part->frees;
  sum->alloc_bytes += part->alloc_bytes;
  sum->free_bytes += part->free_bytes;
  for (int i = 0; i < 2; i++) {
    sum->variance[i] += part->variance[i];
    sum->largest[i] = fmax(sum->largest[i], part->largest[i]);
  }
}

/* Statistics and profile at one moment of rest. */
struct reading {
  struct hp_memstats stats;
  struct profile_sums profile;
};

static struct reading reading(void) {
  struct reading now;
  now.stats = hp_stats();
  now.profile = profile_sums();
  return now;
}

static void check_stats(const struct hp_memstats *before, const struct hp_memstats *after,
                        const struct shadow *shadow) {
  CHECK_EQ((int64_t)(after->Mallocs - before->Mallocs), shadow->mallocs);
  CHECK_EQ((int64_t)(after->Frees - before->Frees), shadow->frees);
  CHECK_EQ((int64_t)(after->TotalAlloc - before->TotalAlloc), shadow->alloc_bytes);
  CHECK_EQ((int64_t)(after->HeapAlloc - before->HeapAlloc), shadow->alloc_bytes - shadow->free_bytes);
  CHECK_EQ((int64_t)(after->HeapObjects - before->HeapObjects), shadow->mallocs - shadow->frees);
  CHECK(after->HeapAlloc == after->Alloc && after->HeapObjects == after->Mallocs - after->Frees,
        "identities");
  CHECK_EQ(after->HeapSys, after->HeapInuse + after->HeapIdle);
  CHECK(after->HeapReleased <= after->HeapIdle && after->HeapAlloc <= after->HeapInuse,
        "HeapReleased %lu of %lu, %lu of %lu", after->HeapReleased, after->HeapIdle, after->HeapAlloc,
        after->HeapInuse);
  CHECK_EQ(after->Sys,
           after->HeapSys + after->MSpanSys + after->MCacheSys + after->BuckHashSys + after->OtherSys);
}

/* At rate 1 the whole profile, from the process's first allocation on, is the exact counters. */
static void check_profile_is_exact(const struct reading *now) {
  const int64_t exact[VALUES] = {(int64_t)now->stats.Mallocs, (int64_t)now->stats.TotalAlloc,
                                 (int64_t)now->stats.HeapObjects, (int64_t)now->stats.HeapAlloc};
  for (int i = 0; i < VALUES; i++) {
    CHECK_EQ(now->profile.sampled[i], exact[i]);
    CHECK_EQ(now->profile.values[i], exact[i]);
  }
}

/* value: which of the profile's; `of` has the variance of those blocks. */
static void check_estimate(int value, int64_t estimate, int64_t exact, const struct shadow *of) {
  static const char *const names[] = {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"};
  double sigma = sqrt(of->variance[value % 2]);
  double tolerance = sigma * sqrt(2 * BERNSTEIN_L) + of->largest[value % 2] * BERNSTEIN_L * 2 / 3;
  test_note("%s at rate %ld: estimated %ld exact %ld sigma %.0f tolerance %.0f", names[value], (long)of->rate,
            (long)estimate, (long)exact, sigma, tolerance);
  CHECK(fabs((double)(estimate - exact)) <= tolerance,
        "%s: estimated %ld, exact %ld, sigma %.0f, tolerance %.0f", names[value], (long)estimate, (long)exact,
        sigma, tolerance);
}

static int64_t grown(const struct reading *before, const struct reading *after, int value) {
  return after->profile.values[value] - before->profile.values[value];
}

static void check(const struct reading *before, const struct reading *after, const struct shadow *shadow) {
  test_note("seed %d rate %ld n %ld", SEED, (long)shadow->rate, (long)shadow->mallocs);
  check_stats(&before->stats, &after->stats, shadow);
  if (shadow->rate == 1) {
    check_profile_is_exact(after);
  } else if (shadow->rate == 0) {
    CHECK_EQ(after->profile.sampled[ALLOC_OBJECTS], (int64_t)0);
  } else {
    struct shadow live = {.rate = shadow->rate};
    for (size_t i = 0; i < SLOTS; i++) {
      if (slots[i] != NULL) {
        add_variance(&live, (double)malloc_usable_size(slots[i]));
      }
    }
    check_estimate(ALLOC_OBJECTS, grown(before, after, ALLOC_OBJECTS), shadow->mallocs, shadow);
    check_estimate(ALLOC_SPACE, grown(before, after, ALLOC_SPACE), shadow->alloc_bytes, shadow);
    check_estimate(INUSE_OBJECTS, grown(before, after, INUSE_OBJECTS), shadow->mallocs - shadow->frees,
                   &live);
    check_estimate(INUSE_SPACE, grown(before, after, INUSE_SPACE), shadow->alloc_bytes - shadow->free_bytes,
                   &live);
  }
}

/* Everything was freed: the estimates of what is in use are back where they were, at any rate. */
static void check_all_freed(const struct reading *before, const struct shadow *shadow) {
  struct reading after = reading();
  check_stats(&before->stats, &after.stats, shadow);
  CHECK_EQ(shadow->alloc_bytes, shadow->free_bytes);
  for (int i = INUSE_OBJECTS; i <= INUSE_SPACE; i++) {
    CHECK_EQ(after.profile.values[i], before->profile.values[i]);
    CHECK_EQ(after.profile.sampled[i], before->profile.sampled[i]);
  }
}

TEST(one_thread_is_counted_exactly) {
  struct shadow shadow = {.rate = hp_rate(-1)};
  reading();
  struct reading before = reading();
  mix(&shadow, SEED, OPS_ALONE);
  struct reading after = reading();
  check(&before, &after, &shadow);
  release_all(&shadow);
  check_all_freed(&before, &shadow);
}

static struct shadow shadows[THREADS];
static pthread_barrier_t gate;

static void *mix_in_thread(void *arg) {
  size_t thread = (size_t)arg;
  shadows[thread] = (struct shadow){.rate = hp_rate(-1)};
  for (int half = 0; half < 2; half++) {
    pthread_barrier_wait(&gate); /* opens: the main thread has taken its reading */
    mix(&shadows[thread], SEED + thread * 2 + (size_t)half, OPS_TOGETHER / 2);
    pthread_barrier_wait(&gate); /* closed: all are at rest */
  }
  pthread_barrier_wait(&gate);
  return NULL;
}

static struct shadow sum_of_shadows(void) {
  struct shadow sum = {.rate = hp_rate(-1)};
  for (int i = 0; i < THREADS; i++) {
    add(&sum, &shadows[i]);
  }
  return sum;
}

TEST(eight_threads_are_counted_exactly) {
  pthread_t threads[THREADS];
  reading();
  pthread_barrier_init(&gate, NULL, THREADS + 1);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, mix_in_thread, (void *)i), 0);
  }
  struct reading before = reading();
  for (int half = 0; half < 2; half++) {
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    struct reading after = reading();
    struct shadow sum = sum_of_shadows();
    check(&before, &after, &sum);
  }
  struct shadow sum = sum_of_shadows();
  release_all(&sum);
  check_all_freed(&before, &sum);
  pthread_barrier_wait(&gate);
}

static void *mix_and_end(void *arg) {
  size_t thread = (size_t)arg;
  mix(&shadows[thread], SEED + 100 + test_random(&(uint64_t){thread}), OPS_TOGETHER / 20);
  return NULL;
}

static void generation(int ops_threads) {
  pthread_t threads[THREADS];
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 * 1024); /* so that libc keeps all of them for the next generation */
  for (size_t i = 0; i < (size_t)ops_threads; i++) {
    CHECK_EQ(pthread_create(&threads[i], &small, mix_and_end, (void *)i), 0);
  }
  for (int i = 0; i < ops_threads; i++) {
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  }
}

/* Threads end with live blocks, which later ones free. What libc allocates for a thread it keeps and uses
 * again. */
TEST(generations_of_threads_are_counted_exactly) {
  struct shadow sum = {.rate = hp_rate(-1)};
  memset(shadows, 0, sizeof shadows);
  for (int i = 0; i < THREADS; i++) {
    shadows[i].rate = sum.rate;
  }
  for (int i = 0; i < 3; i++) {
    generation(THREADS);
  }
  release_all(&sum);
  reading();
  sum = (struct shadow){.rate = sum.rate};
  for (int i = 0; i < THREADS; i++) {
    shadows[i] = (struct shadow){.rate = sum.rate};
  }
  struct reading before = reading();
  for (int i = 0; i < 10; i++) {
    generation(THREADS);
  }
  struct reading after = reading();
  sum = sum_of_shadows();
  check(&before, &after, &sum);
  release_all(&sum);
  check_all_freed(&before, &sum);
}

static struct reading run_at(int64_t rate, struct shadow *shadow) {
  *shadow = (struct shadow){.rate = rate};
  hp_rate(rate);
  mix(shadow, SEED + (uint64_t)rate, OPS_ALONE / 8);
  return reading();
}

TEST(a_change_of_rate_scales_nothing_wrongly) {
  struct shadow shadow, all = {0};
  reading();
  struct reading before = reading();
  struct reading off = run_at(0, &shadow);
  add(&all, &shadow);
  CHECK_EQ(grown(&before, &off, ALLOC_OBJECTS), (int64_t)0);
  struct reading every = run_at(1, &shadow);
  add(&all, &shadow);
  CHECK_EQ(grown(&off, &every, ALLOC_OBJECTS), shadow.mallocs);
  CHECK_EQ(grown(&off, &every, ALLOC_SPACE), shadow.alloc_bytes);
  struct reading some = run_at(4096, &shadow);
  add(&all, &shadow);
  check_estimate(ALLOC_OBJECTS, grown(&every, &some, ALLOC_OBJECTS), shadow.mallocs, &shadow);
  check_estimate(ALLOC_SPACE, grown(&every, &some, ALLOC_SPACE), shadow.alloc_bytes, &shadow);
  struct reading none = run_at(0, &shadow);
  add(&all, &shadow);
  CHECK_EQ(grown(&some, &none, ALLOC_OBJECTS), (int64_t)0);
  release_all(&all);
  check_all_freed(&before, &all);
}

static int is_over;

static void *mix_until_over(void *arg) {
  size_t thread = (size_t)arg;
  for (uint64_t seed = SEED + thread * 1000; !__atomic_load_n(&is_over, __ATOMIC_ACQUIRE); seed++) {
    mix(&shadows[thread], seed, 1000);
  }
  pthread_barrier_wait(&gate);
  pthread_barrier_wait(&gate);
  return NULL;
}

/* Samples of all rates live side by side; freed, each takes away what it added. */
TEST(rates_change_under_running_threads) {
  static const int64_t rates[] = {4096, 0, 1, 524288, 100, 65536};
  pthread_t threads[THREADS];
  int64_t first_rate = hp_rate(-1);
  reading();
  pthread_barrier_init(&gate, NULL, THREADS + 1);
  memset(shadows, 0, sizeof shadows);
  struct reading before = reading();
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, mix_until_over, (void *)i), 0);
  }
  for (int i = 0; i < 2000; i++) {
    hp_rate(rates[i % 6]);
    hp_stats();
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  pthread_barrier_wait(&gate);
  hp_rate(first_rate);
  struct shadow sum = sum_of_shadows();
  release_all(&sum);
  struct reading after = reading();
  CHECK_EQ((int64_t)(after.stats.Frees - before.stats.Frees), sum.frees);
  /* pthread_create allocates a block or two per thread, which are still in use. */
  CHECK(after.stats.HeapObjects - before.stats.HeapObjects <= 2 * THREADS, "%ld blocks are left",
        (long)(after.stats.HeapObjects - before.stats.HeapObjects));
  CHECK(after.profile.sampled[INUSE_OBJECTS] - before.profile.sampled[INUSE_OBJECTS] <= 2 * THREADS,
        "%ld samples are left",
        (long)(after.profile.sampled[INUSE_OBJECTS] - before.profile.sampled[INUSE_OBJECTS]));
  pthread_barrier_wait(&gate);
}
