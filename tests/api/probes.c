/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a tracer (OpenTelemetry's profiler, bpftrace) whose heap profile is not
 * halloc's, because a kind of block is not reported, is reported twice or with another size, or leaves under
 * an address that another block has by then.
 *
 * A child runs with breakpoints on the probes; what its parent reads at them is compared with what the child
 * says it did, and with the profile.
 */
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/api/hp.h"
#include "tests/api/tracer.h"

#define SEED 20261121
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define EVENTS_MAX 100000

enum { ALLOC, FREE, PROBES };

struct event {
  unsigned probe;
  uint64_t address, size, weighted_bytes;
};

/* Shared with the child. */
struct record {
  bool is_watched; /* atomic; written by the child around what is compared */
  int64_t rate;
  unsigned expected_count;
  struct event expected[1000];
  int64_t grown[VALUES]; /* of the profile, while watched */
};
static struct record *record; /* the child writes, before its parent goes on */

static struct event events[EVENTS_MAX];
static unsigned event_count;

static void take_hit(unsigned probe, const uint64_t arguments[TRACER_ARGUMENTS_MAX], void *arg) {
  (void)arg;
  if (__atomic_load_n(&record->is_watched, __ATOMIC_ACQUIRE)) {
    CHECK(event_count < EVENTS_MAX, "too many events");
    events[event_count++] = (struct event){probe, arguments[0], arguments[1], arguments[2]};
  }
}

static void watch(bool is_watched) {
  __atomic_store_n(&record->is_watched, is_watched, __ATOMIC_RELEASE);
}

static void trace(void (*body)(void), bool wants_allocs, bool wants_frees) {
  record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(record != MAP_FAILED, "no memory for the test");
  struct tracer_probe probes[PROBES] = {
      {note_find("otel_memory", "alloc"), wants_allocs},
      {note_find("otel_memory", "free"), wants_frees},
  };
  CHECK_STRING(probes[ALLOC].note.arguments, "8@%rdi 8@%rsi 8@%rdx");
  CHECK_STRING(probes[FREE].note.arguments, "8@%rdi");
  tracer_run(probes, PROBES, body, take_hit, NULL);
}

/* ---- at rate 1, every block ---- */

static void expect(unsigned probe, const void *block, size_t size) {
  record->expected[record->expected_count++] = (struct event){probe, (uintptr_t)block, size, size};
}

static void *expect_alloc(void *block) {
  CHECK(block != NULL, "no memory");
  expect(ALLOC, block, malloc_usable_size(block));
  return block;
}

static void expect_free(void *block) {
  expect(FREE, block, 0);
  free(block);
}

static void small_and_aligned_blocks(void) {
  static const size_t sizes[] = {0,        1,         100,           1024,    1025,
                                 40 * KIB, 128 * KIB, 128 * KIB + 1, 3 * MIB, 40 * MIB};
  void *blocks[sizeof sizes / sizeof sizes[0]];
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    blocks[i] = expect_alloc(malloc(sizes[i]));
  }
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    expect_free(blocks[i]);
  }
  expect_free(expect_alloc(calloc(10, 10)));
  for (size_t alignment = 32; alignment <= 4 * MIB; alignment *= 8) {
    expect_free(expect_alloc(memalign(alignment, 100)));
    expect_free(expect_alloc(memalign(alignment, 200 * KIB)));
  }
}

/* How a call of realloc shows: not at all; as an allocation, a copy and a free; or, where the block keeps its
 * memory, as a free and an allocation. */
enum shown { NOTHING, ALLOC_FREE, FREE_ALLOC };

static void *resize(void *block, size_t size, enum shown shown) {
  void *resized = realloc(block, size);
  CHECK(resized != NULL, "no memory");
  if (shown == FREE_ALLOC) {
    expect(FREE, block, 0);
  }
  if (shown != NOTHING) {
    expect_alloc(resized);
  }
  if (shown == ALLOC_FREE) {
    expect(FREE, block, 0);
  }
  return resized;
}

static void resized_blocks(void) {
  void *block = expect_alloc(malloc(100));
  block = resize(block, 112, NOTHING);
  block = resize(block, 500, ALLOC_FREE);
  block = resize(block, 300 * KIB, ALLOC_FREE);
  void *grown = resize(block, 301 * KIB, FREE_ALLOC);
  CHECK_EQ(grown, block);
  block = resize(grown, 10, ALLOC_FREE);
  expect_free(block);
}

/* The second lies where the first would grow, since the kernel places mappings downwards. */
static void moved_blocks(void) {
  void *above = expect_alloc(malloc(40 * MIB));
  void *below = expect_alloc(malloc(40 * MIB));
  void *moved = resize(below, 80 * MIB, FREE_ALLOC);
  test_note("a huge block %s", moved == below ? "grew in place" : "was moved");
  expect_free(above);
  expect_free(moved);
}

static void *free_in_thread(void *block) {
  watch(true);
  free(block);
  watch(false);
  return NULL;
}

static void freed_by_another_thread(void) {
  void *block = expect_alloc(malloc(100));
  pthread_t thread;
  watch(false); /* pthread_create allocates */
  CHECK_EQ(pthread_create(&thread, NULL, free_in_thread, block), 0);
  pthread_join(thread, NULL);
  watch(true);
  expect(FREE, block, 0);
}

static void every_kind_of_block(void) {
  hp_rate(1);
  watch(true);
  small_and_aligned_blocks();
  resized_blocks();
  moved_blocks();
  freed_by_another_thread();
  free(NULL);
  watch(false);
}

static void check_expected(unsigned probe) {
  unsigned at = 0;
  for (unsigned i = 0; i < record->expected_count; i++) {
    const struct event *expected = &record->expected[i];
    if (probe != PROBES && expected->probe != probe) {
      continue;
    }
    CHECK(at < event_count, "only %u events were seen", event_count);
    const struct event *seen = &events[at++];
    CHECK(seen->probe == expected->probe && seen->address == expected->address,
          "event %u is %u of %#lx, not %u of %#lx", at, seen->probe, (unsigned long)seen->address,
          expected->probe, (unsigned long)expected->address);
    CHECK(seen->probe == FREE ||
              (seen->size == expected->size && seen->weighted_bytes == expected->weighted_bytes),
          "event %u says %lu bytes, weighted %lu, not %lu", at, (unsigned long)seen->size,
          (unsigned long)seen->weighted_bytes, (unsigned long)expected->size);
  }
  test_note("%u events", event_count);
  CHECK(at == event_count && at > 10, "%u events were seen, %u expected", event_count, at);
}

TEST(every_sampled_block_is_reported_once_each_way) {
  trace(every_kind_of_block, true, true);
  check_expected(PROBES);
}

TEST(each_probe_has_a_semaphore_of_its_own) {
  trace(every_kind_of_block, true, false);
  check_expected(ALLOC);
}

TEST(frees_alone_are_reported_too) {
  trace(every_kind_of_block, false, true);
  check_expected(FREE);
}

TEST(without_a_tracer_the_probes_are_not_reached) {
  trace(every_kind_of_block, false, false);
  CHECK_EQ(event_count, 0u);
}

/* ---- at other rates, under load ---- */

#define THREADS 4
#define SLOTS 512
#define OPS 20000 /* of each thread */
#define RATE 4096

static void *slots[SLOTS];
static pthread_barrier_t gate;

static void *mix(void *arg) {
  uint64_t random = SEED + (uintptr_t)arg;
  pthread_barrier_wait(&gate);
  for (int i = 0; i < OPS; i++) {
    size_t size = test_random(&random) % 1000 == 0 ? test_random(&random) % MIB : test_random(&random) % 600;
    void *block = test_random(&random) % 4 == 0 ? NULL : malloc(size);
    void **slot = &slots[test_random(&random) % SLOTS];
    free(__atomic_exchange_n(slot, block, __ATOMIC_ACQ_REL));
  }
  pthread_barrier_wait(&gate);
  pthread_barrier_wait(&gate);
  return NULL;
}

static void load(void) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&gate, NULL, THREADS + 1);
  for (uintptr_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, mix, (void *)i), 0);
  }
  record->rate = RATE;
  hp_rate(RATE);
  profile_sums();
  struct profile_sums before = profile_sums();
  watch(true);
  pthread_barrier_wait(&gate);
  pthread_barrier_wait(&gate);
  watch(false);
  struct profile_sums after = profile_sums();
  for (int i = 0; i < VALUES; i++) {
    record->grown[i] = after.values[i] - before.values[i];
  }
  pthread_barrier_wait(&gate);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

static struct event live[EVENTS_MAX];
static unsigned live_count;

static unsigned find_live(uint64_t address) {
  unsigned i = 0;
  while (i < live_count && live[i].address != address) {
    i++;
  }
  return i;
}

static void check_weight(const struct event *event) {
  double size = (double)event->size;
  double exact = size / -expm1(-size / (double)record->rate);
  /* The weight is a multiple of 2^-16, and the product is cut to whole bytes. */
  CHECK(fabs((double)event->weighted_bytes - exact) <= 1 + size / 65536,
        "%lu bytes, weighted %lu, exact %.1f", (unsigned long)event->size,
        (unsigned long)event->weighted_bytes, exact);
}

/* What a tracer makes of the events. */
static void add_up(double sums[VALUES]) {
  for (unsigned i = 0; i < event_count; i++) {
    const struct event *event = &events[i];
    unsigned at = find_live(event->address);
    if (event->probe == ALLOC) {
      check_weight(event);
      CHECK(at == live_count, "%#lx is allocated twice", (unsigned long)event->address);
      live[live_count++] = *event;
      sums[ALLOC_OBJECTS] += (double)event->weighted_bytes / (double)event->size;
      sums[ALLOC_SPACE] += (double)event->weighted_bytes;
    } else {
      CHECK(at < live_count, "%#lx is freed but not live", (unsigned long)event->address);
      live[at] = live[--live_count];
    }
  }
  for (unsigned i = 0; i < live_count; i++) {
    sums[INUSE_OBJECTS] += (double)live[i].weighted_bytes / (double)live[i].size;
    sums[INUSE_SPACE] += (double)live[i].weighted_bytes;
  }
}

TEST(a_tracer_adds_up_to_the_profile) {
  trace(load, true, true);
  double sums[VALUES] = {0};
  add_up(sums);
  test_note("%u events, %u samples live, seed %d", event_count, live_count, SEED);
  CHECK(event_count > 1000, "only %u events", event_count);
  for (int i = 0; i < VALUES; i++) {
    /* A byte is cut off from each event, and from each of the few hundred rows. */
    double tolerance = i % 2 == 0 ? event_count / 16.0 + 1000 : event_count + 1000;
    CHECK(fabs(sums[i] - (double)record->grown[i]) <= tolerance,
          "value %d: the tracer has %.0f, the profile %ld", i, sums[i], (long)record->grown[i]);
  }
}
