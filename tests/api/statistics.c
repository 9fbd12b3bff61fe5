/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: numbers that do not add up. A dashboard that shows more blocks freed than
 * allocated, an alarm on a leak that is a drift of the counters.
 *
 * The counts are compared with those the program keeps itself. Under load, where nothing can be compared,
 * each reading must add up in itself and none may be behind the one before. residency.c compares with the
 * kernel.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/api/hp.h"
#include "tests/api/kernel.h"

#define SEED 20261121
#define THREADS 8
#define CALLS 10000000 /* of malloc, calloc, realloc, the aligned ones and free, by all threads together */
/* A million take 40 s with the eight threads on two cores; TEST_READS=1000000 makes them. */
#define READS 100000
#define SLOTS 4096    /* shared: mostly freed by another thread */
#define OWN_SLOTS 128 /* of each thread */
#define CLASS_MAX (128 * 1024)
#define MIB ((size_t)1 << 20)

/* ---- What the program counts ---- */

struct shadow {
  uint64_t calls, mallocs, frees, alloc_bytes, free_bytes;
  uint64_t class_mallocs[HP_SIZE_CLASSES], class_frees[HP_SIZE_CLASSES];
};

static __thread struct shadow mine;
static struct shadow
    shadows[THREADS + 1]; /* copies of `mine` where threads are at rest; the last is main's */
static void *slots[SLOTS];
static uint8_t class_of_16th[CLASS_MAX / 16 + 1];

static void learn_classes(void) {
  struct hp_memstats stats = hp_stats();
  size_t size = 0;
  for (unsigned i = 0; i < HP_SIZE_CLASSES; i++) {
    CHECK(stats.BySize[i].Size > size && stats.BySize[i].Size % 16 == 0, "class %u has size %u", i,
          stats.BySize[i].Size);
    for (; size < stats.BySize[i].Size; size += 16) {
      class_of_16th[size / 16 + 1] = (uint8_t)i;
    }
  }
  CHECK_EQ(size, (size_t)CLASS_MAX);
}

static void count(uint64_t *blocks, uint64_t *bytes, uint64_t *classes, size_t size) {
  (*blocks)++;
  *bytes += size;
  if (size <= CLASS_MAX) {
    classes[class_of_16th[size / 16]]++;
  }
}

static void *note_alloc(void *block) {
  CHECK(block != NULL, "no memory");
  count(&mine.mallocs, &mine.alloc_bytes, mine.class_mallocs, malloc_usable_size(block));
  mine.calls++;
  return block;
}

static void note_free(size_t size) {
  count(&mine.frees, &mine.free_bytes, mine.class_frees, size);
}

static void release(void *block) {
  if (block != NULL) {
    note_free(malloc_usable_size(block));
    free(block);
    mine.calls++;
  }
}

/* A block that stays as it is counts nothing; resized, in place or not, it is one freed and one allocated. */
static void *resize(void *block, size_t size) {
  size_t old_size = malloc_usable_size(block);
  void *resized = realloc(block, size);
  if (size == 0) {
    CHECK(resized == NULL, "realloc(p, 0) is %p", resized);
    note_free(old_size);
    mine.calls++;
  } else if (resized != block || malloc_usable_size(resized) != old_size) {
    note_free(old_size);
    note_alloc(resized);
  } else {
    mine.calls++;
  }
  return resized;
}

/* ---- The load ---- */

static size_t between(uint64_t *random, size_t least, size_t most) {
  return least + test_random(random) % (most - least + 1);
}

/* Each doubling as likely as the next up to 8 KiB; 1 in 64 medium, 1 in 1024 large, 1 in 200000 huge. */
static size_t random_size(uint64_t *random) {
  uint64_t kind = test_random(random);
  if (kind % 200000 == 0) {
    return between(random, 33 * MIB, 48 * MIB);
  }
  if (kind % 1024 == 1) {
    return between(random, CLASS_MAX + 1, 4 * MIB);
  }
  if (kind % 64 == 2) {
    return between(random, 8 * 1024, CLASS_MAX);
  }
  size_t doubling = (size_t)1 << (kind >> 32) % 13;
  return between(random, doubling - 1, doubling * 2 - 1);
}

static void *allocate_aligned(uint64_t *random, size_t size) {
  size_t alignment = (size_t)16 << test_random(random) % 9;
  void *block = NULL;
  switch (test_random(random) % 3) {
  case 0:
    return aligned_alloc(alignment, size);
  case 1:
    return memalign(alignment, size);
  default:
    CHECK_EQ(posix_memalign(&block, alignment, size), 0);
    return block;
  }
}

static void *allocate(uint64_t *random) {
  size_t size = random_size(random);
  switch (test_random(random) % 8) {
  case 0:
    return note_alloc(calloc(1, size));
  case 1:
    return note_alloc(allocate_aligned(random, size));
  case 2:
    return note_alloc(realloc(NULL, size));
  default:
    return note_alloc(malloc(size));
  }
}

static void *exchange(void **slot, void *block) {
  return __atomic_exchange_n(slot, block, __ATOMIC_ACQ_REL);
}

/* Three in four blocks go through the shared slots. One round makes up to three calls. */
static void mix(uint64_t *random, void **own, uint64_t calls) {
  for (uint64_t end = mine.calls + calls; mine.calls < end;) {
    uint64_t dice = test_random(random);
    void **slot = dice % 4 == 0 ? &own[dice / 4 % OWN_SLOTS] : &slots[dice / 4 % SLOTS];
    void *block = NULL;
    if (dice >> 60 == 0) {
      block = exchange(slot, NULL);
      block = block != NULL ? resize(block, dice >> 48 & 63 ? random_size(random) : 0) : NULL;
    } else if (dice >> 60 > 1) {
      block = allocate(random);
    }
    release(exchange(slot, block));
  }
}

/* ---- Comparing ---- */

static struct shadow sum_of_shadows(void) {
  struct shadow sum = {0};
  for (int i = 0; i <= THREADS; i++) {
    const uint64_t *part = (const uint64_t *)&shadows[i];
    for (size_t k = 0; k < sizeof sum / sizeof *part; k++) {
      ((uint64_t *)&sum)[k] += part[k];
    }
  }
  return sum;
}

static void check_at_rest(const char *when, const struct hp_memstats *before) {
  struct hp_memstats after = hp_stats();
  struct shadow sum = sum_of_shadows();
  test_note("%s: seed %d calls %lu mallocs %lu frees %lu live %lu bytes", when, SEED,
            (unsigned long)sum.calls, (unsigned long)sum.mallocs, (unsigned long)sum.frees,
            (unsigned long)(sum.alloc_bytes - sum.free_bytes));
  CHECK_EQ(after.Mallocs - before->Mallocs, sum.mallocs);
  CHECK_EQ(after.Frees - before->Frees, sum.frees);
  CHECK_EQ(after.HeapObjects - before->HeapObjects, sum.mallocs - sum.frees);
  CHECK_EQ(after.TotalAlloc - before->TotalAlloc, sum.alloc_bytes);
  CHECK_EQ(after.HeapAlloc - before->HeapAlloc, sum.alloc_bytes - sum.free_bytes);
  for (int i = 0; i < HP_SIZE_CLASSES; i++) {
    CHECK(after.BySize[i].Mallocs - before->BySize[i].Mallocs == sum.class_mallocs[i] &&
              after.BySize[i].Frees - before->BySize[i].Frees == sum.class_frees[i],
          "class of %u bytes: %lu mallocs, not %lu; %lu frees, not %lu", after.BySize[i].Size,
          (unsigned long)(after.BySize[i].Mallocs - before->BySize[i].Mallocs),
          (unsigned long)sum.class_mallocs[i],
          (unsigned long)(after.BySize[i].Frees - before->BySize[i].Frees),
          (unsigned long)sum.class_frees[i]);
  }
}

/* What must hold in every reading, and from one reading to the next. */
static const char *const rules[] = {
    "HeapSys = HeapInuse + HeapIdle",
    "HeapIdle >= HeapReleased",
    "HeapObjects = Mallocs - Frees",
    "Frees <= Mallocs",
    "Sys = sum of the Sys fields",
    "HeapAlloc <= HeapInuse",
    "Alloc = HeapAlloc",
    "Alloc <= TotalAlloc",
    "Frees <= Mallocs in each class",
    "Mallocs never falls",
    "Frees never falls",
    "TotalAlloc never falls",
    "bytes freed (TotalAlloc - Alloc) never fall",
    "Mallocs and Frees of each class never fall",
};
#define RULES (sizeof rules / sizeof *rules)

static unsigned long broken[RULES], first_broken_at[RULES];
static struct hp_memstats first_broken[RULES][2]; /* the reading before, and the one that breaks the rule */

static unsigned broken_rules(const struct hp_memstats *was, const struct hp_memstats *is) {
  bool classes_add_up = true;
  bool classes_rise = true;
  for (int i = 0; i < HP_SIZE_CLASSES; i++) {
    classes_add_up &= is->BySize[i].Frees <= is->BySize[i].Mallocs;
    classes_rise &=
        is->BySize[i].Mallocs >= was->BySize[i].Mallocs && is->BySize[i].Frees >= was->BySize[i].Frees;
  }
  const bool holds[RULES] = {
      is->HeapSys == is->HeapInuse + is->HeapIdle,
      is->HeapIdle >= is->HeapReleased,
      is->HeapObjects == is->Mallocs - is->Frees,
      is->Frees <= is->Mallocs,
      is->Sys == is->HeapSys + is->MSpanSys + is->MCacheSys + is->BuckHashSys + is->OtherSys,
      is->HeapAlloc <= is->HeapInuse,
      is->Alloc == is->HeapAlloc,
      is->Alloc <= is->TotalAlloc,
      classes_add_up,
      is->Mallocs >= was->Mallocs,
      is->Frees >= was->Frees,
      is->TotalAlloc >= was->TotalAlloc,
      is->TotalAlloc - is->Alloc >= was->TotalAlloc - was->Alloc,
      classes_rise,
  };
  unsigned found = 0;
  for (size_t i = 0; i < RULES; i++) {
    found |= holds[i] ? 0 : 1u << i;
  }
  return found;
}

static void note_broken(unsigned found, unsigned long reads, const struct hp_memstats *was,
                        const struct hp_memstats *is) {
  for (size_t i = 0; i < RULES; i++) {
    if ((found >> i & 1) != 0 && broken[i]++ == 0) {
      first_broken_at[i] = reads;
      first_broken[i][0] = *was;
      first_broken[i][1] = *is;
    }
  }
}

static void show(const char *name, const struct hp_memstats *stats) {
  test_note("  %s: Mallocs %lu Frees %lu HeapObjects %lu TotalAlloc %lu Alloc %lu HeapAlloc %lu HeapInuse "
            "%lu HeapIdle "
            "%lu HeapReleased %lu HeapSys %lu Sys %lu",
            name, (unsigned long)stats->Mallocs, (unsigned long)stats->Frees,
            (unsigned long)stats->HeapObjects, (unsigned long)stats->TotalAlloc, (unsigned long)stats->Alloc,
            (unsigned long)stats->HeapAlloc, (unsigned long)stats->HeapInuse, (unsigned long)stats->HeapIdle,
            (unsigned long)stats->HeapReleased, (unsigned long)stats->HeapSys, (unsigned long)stats->Sys);
}

static void show_broken_classes(const struct hp_memstats *was, const struct hp_memstats *is) {
  for (int i = 0; i < HP_SIZE_CLASSES; i++) {
    if (is->BySize[i].Frees > is->BySize[i].Mallocs || is->BySize[i].Mallocs < was->BySize[i].Mallocs ||
        is->BySize[i].Frees < was->BySize[i].Frees) {
      test_note("  class of %u bytes: mallocs %lu then %lu, frees %lu then %lu", is->BySize[i].Size,
                (unsigned long)was->BySize[i].Mallocs, (unsigned long)is->BySize[i].Mallocs,
                (unsigned long)was->BySize[i].Frees, (unsigned long)is->BySize[i].Frees);
    }
  }
}

static unsigned report_broken(unsigned long reads) {
  unsigned count_broken = 0;
  for (size_t i = 0; i < RULES; i++) {
    if (broken[i] != 0) {
      test_note("broken in %lu of %lu readings: %s; first in reading %lu:", broken[i], reads, rules[i],
                first_broken_at[i]);
      show("before", &first_broken[i][0]);
      show("then  ", &first_broken[i][1]);
      show_broken_classes(&first_broken[i][0], &first_broken[i][1]);
      count_broken++;
    }
  }
  return count_broken;
}

/* ---- The tests ---- */

static pthread_barrier_t gate;
static uint64_t calls_each; /* 0: until is_over */
static int is_over;

static void *load(void *arg) {
  size_t thread = (size_t)arg;
  void *own[OWN_SLOTS] = {NULL};
  uint64_t random = SEED + thread;
  pthread_barrier_wait(&gate); /* opens: the main thread has taken its reading */
  if (calls_each != 0) {
    mix(&random, own, calls_each);
  }
  while (calls_each == 0 && !__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    mix(&random, own, 256);
  }
  for (size_t i = 0; i < OWN_SLOTS; i += 2) {
    release(exchange(&own[i], NULL)); /* the others outlive the thread, in shared slots */
    release(exchange(&slots[(thread * OWN_SLOTS + i) % SLOTS], own[i + 1]));
  }
  shadows[thread] = mine;
  pthread_barrier_wait(&gate); /* closed: all are at rest */
  pthread_barrier_wait(&gate); /* the main thread has looked */
  return NULL;
}

static void start(pthread_t *threads) {
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 * 1024); /* so that libc keeps all of them for the next threads */
  pthread_barrier_init(&gate, NULL, THREADS + 1);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], &small, load, (void *)i), 0);
  }
}

static void join(pthread_t *threads) {
  for (int i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  }
}

static void release_all(void) {
  for (size_t i = 0; i < SLOTS; i++) {
    release(exchange(&slots[i], NULL));
  }
  shadows[THREADS] = mine;
}

/* What libc and the library allocate for the first threads they keep for the next. */
static void warm_up(pthread_t *threads) {
  learn_classes();
  calls_each = 1000;
  start(threads);
  for (int i = 0; i < 3; i++) {
    pthread_barrier_wait(&gate);
  }
  join(threads);
  release_all();
  memset(shadows, 0, sizeof shadows);
  memset(&mine, 0, sizeof mine);
}

TEST_WITHIN(120, at_rest_every_count_is_exact) {
  pthread_t threads[THREADS];
  warm_up(threads);
  calls_each = CALLS / THREADS;
  start(threads);
  struct hp_memstats before = hp_stats();
  pthread_barrier_wait(&gate);
  pthread_barrier_wait(&gate);
  check_at_rest("threads parked", &before);
  pthread_barrier_wait(&gate);
  join(threads);
  check_at_rest("threads joined", &before);
  release_all();
  check_at_rest("all freed", &before);
}

static unsigned long wanted_reads(void) {
  const char *text = getenv("TEST_READS");
  return text != NULL ? strtoul(text, NULL, 10) : READS;
}

TEST_WITHIN(300, under_load_every_reading_adds_up) {
  pthread_t threads[THREADS];
  unsigned long reads = wanted_reads();
  warm_up(threads);
  calls_each = 0;
  start(threads);
  struct hp_memstats before = hp_stats();
  struct hp_memstats was = before;
  pthread_barrier_wait(&gate);
  uint64_t begin = kernel_now();
  for (unsigned long i = 0; i < reads; i++) {
    struct hp_memstats is = hp_stats();
    unsigned found = broken_rules(&was, &is);
    if (found != 0) {
      note_broken(found, i, &was, &is);
    }
    was = is;
  }
  uint64_t elapsed = kernel_now() - begin;
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  pthread_barrier_wait(&gate);
  test_note("%lu readings in %.1f s, beside %lu calls; TEST_READS=N makes N", reads, (double)elapsed / 1e9,
            (unsigned long)sum_of_shadows().calls);
  unsigned count_broken = report_broken(reads);
  check_at_rest("threads parked", &before);
  CHECK(count_broken == 0, "%u of %zu rules broken in %lu readings", count_broken, RULES, reads);
  pthread_barrier_wait(&gate);
  join(threads);
  release_all();
  check_at_rest("all freed", &before);
}
