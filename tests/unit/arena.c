/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: two blocks on the same memory, address space that fragments for good,
 * HeapIdle and HeapSys that do not add up.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "alloc/arena.h"
#include "alloc/page_map.h"
#include "alloc/resident.h"
#include "alloc/size_class.h"
#include "base/lock.h"
#include "base/os.h"
#include "tests/test.h"

#define SEED 20240612
#define MIB ((size_t)1 << 20)
#define SPANS 300
#define ROUNDS 20000
#define THREADS 8

static struct ha_page *take(size_t slices, size_t alignment) {
  ha_lock(HA_RANK_ARENA);
  struct ha_page *span = ha_span_alloc_locked(slices, alignment);
  if (span != NULL) {
    span->kind = HA_PAGE_LARGE;
  }
  ha_unlock(HA_RANK_ARENA);
  return span;
}

static void give(struct ha_page *span) {
  ha_lock(HA_RANK_ARENA);
  ha_span_free_locked(span);
  ha_unlock(HA_RANK_ARENA);
}

static bool extend(struct ha_page *span, size_t slices) {
  ha_lock(HA_RANK_ARENA);
  bool done = ha_span_extend_locked(span, slices);
  ha_unlock(HA_RANK_ARENA);
  return done;
}

static uint64_t used_slices(void) {
  struct ha_arena_totals totals = ha_arena_totals();
  return totals.slices - totals.free_slices;
}

TEST(spans_are_aligned_and_counted) {
  free(malloc(1));
  for (size_t alignment = HA_SLICE; alignment <= 256 * MIB; alignment *= 2) {
    uint64_t before = used_slices();
    struct ha_page *span = take(3, alignment);
    CHECK(span != NULL && (uintptr_t)span->start % alignment == 0, "alignment %zu is not met", alignment);
    CHECK_EQ(used_slices(), before + 3);
    CHECK_EQ(ha_page_of(span->start), span);
    memset(span->start, 1, 3 * HA_SLICE);
    give(span);
    CHECK_EQ(used_slices(), before);
  }
}

TEST(what_is_free_and_touches_is_one_span_again) {
  struct ha_page *all = take(64, HA_SLICE);
  char *start = all->start;
  give(all);
  struct ha_page *parts[4];
  for (int i = 0; i < 4; i++) {
    parts[i] = take(16, HA_SLICE);
  }
  const int order[] = {2, 0, 3, 1}; /* neighbours on no side, the right, the left, both */
  for (int i = 0; i < 4; i++) {
    give(parts[order[i]]);
  }
  all = take(64, HA_SLICE);
  CHECK_EQ((void *)all->start, (void *)start);
  CHECK_EQ(ha_arena_totals().slices, 64 * MIB / HA_SLICE);
}

TEST(a_span_grows_into_free_slices_behind_it_only) {
  struct ha_page *first = take(4, HA_SLICE);
  struct ha_page *second = take(4, HA_SLICE);
  struct ha_page *lower = first->start < second->start ? first : second;
  struct ha_page *upper = lower == first ? second : first;
  CHECK(!extend(lower, 5), "it grew into a span in use");
  give(upper);
  uint64_t before = used_slices();
  CHECK(extend(lower, 6), "it did not grow into free slices");
  CHECK_EQ(lower->slices, 6u);
  CHECK_EQ(used_slices(), before + 2);
  CHECK(!extend(lower, 1000000), "it grew beyond its arena");
}

TEST(fresh_means_never_handed_out) {
  free(malloc(1));
  struct ha_page *span = take(8, HA_SLICE);
  CHECK(span->is_fresh, "new memory is not fresh");
  ha_resident_set(span->arena, span->start, 8 * HA_SLICE);
  memset(span->start, 1, 8 * HA_SLICE);
  char *start = span->start;
  give(span);
  span = take(8, HA_SLICE);
  CHECK(span->start != start || !span->is_fresh, "written memory passes for fresh");
  struct ha_arena_totals totals = ha_arena_totals();
  CHECK(totals.free_resident <= totals.free_slices * (HA_SLICE / HA_OS_PAGE), "more is resident than free");
}

TEST(an_impossible_span_is_null_and_changes_nothing) {
  free(malloc(1));
  uint64_t before = used_slices();
  CHECK(take((size_t)1 << 31, HA_SLICE) == NULL, "128 TiB were had");
  CHECK(take(1, (size_t)1 << 62) == NULL, "alignment 2^62 was met");
  CHECK_EQ(used_slices(), before);
  CHECK(take(1, HA_SLICE) != NULL, "nothing can be had any more");
}

/* Random spans, each with its address written into every slice: none may change until it is freed. */
TEST(random_spans_never_overlap) {
  static struct ha_page *spans[SPANS];
  uint64_t random = SEED;
  uint64_t before = used_slices();
  uint64_t live = 0;
  for (int round = 0; round < ROUNDS; round++) {
    int i = (int)(test_random(&random) % SPANS);
    if (spans[i] != NULL) {
      for (uint32_t slice = 0; slice < spans[i]->slices; slice++) {
        CHECK(*(struct ha_page **)(void *)(spans[i]->start + slice * HA_SLICE) == spans[i],
              "slice %u was overwritten", slice);
      }
      live -= spans[i]->slices;
      give(spans[i]);
      spans[i] = NULL;
      continue;
    }
    spans[i] = take(1 + test_random(&random) % 40, HA_SLICE << (test_random(&random) % 4));
    CHECK(spans[i] != NULL, "no memory");
    if (test_random(&random) % 3 == 0) {
      extend(spans[i], spans[i]->slices + 2);
    }
    live += spans[i]->slices;
    CHECK_EQ(used_slices() - before, live);
    for (uint32_t slice = 0; slice < spans[i]->slices; slice++) {
      *(struct ha_page **)(void *)(spans[i]->start + slice * HA_SLICE) = spans[i];
    }
  }
}

/* Pages are taken and returned by several threads, which write all of each: a page in two hands shows. */
static void *churn_pages(void *arg) {
  uint64_t random = SEED + (uintptr_t)arg;
  struct ha_page *held[16] = {NULL};
  for (int round = 0; round < 20000; round++) {
    int i = (int)(test_random(&random) % 16);
    if (held[i] != NULL) {
      CHECK(*(void **)(void *)(held[i]->start + 32768) == (void *)&held[i], "a page is in two hands");
      CHECK(ha_page_of(held[i]->start) == held[i], "a page in use was taken from the map");
      ha_page_release(held[i]);
    }
    held[i] = ha_page_alloc((unsigned)(test_random(&random) % HA_CLASS_COUNT), false);
    CHECK(held[i] != NULL, "no memory");
    *(void **)(void *)(held[i]->start + 32768) = (void *)&held[i];
  }
  return NULL;
}

TEST(eight_threads_take_and_release_pages) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, churn_pages, (void *)i);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

/* ---- Memory that is being released ---- */

#define RELEASE_NANOS 100000000L

/* As ha_release, and slowly: whoever looks for a span meanwhile finds this one missing. */
static void *release_slowly(void *gate) {
  const struct timespec pause = {0, RELEASE_NANOS};
  ha_lock(HA_RANK_RELEASE);
  ha_lock(HA_RANK_ARENA);
  struct ha_page *span = ha_span_withdraw_resident_locked();
  ha_unlock(HA_RANK_ARENA);
  pthread_barrier_wait(gate);
  nanosleep(&pause, NULL);
  ha_lock(HA_RANK_ARENA);
  ha_span_return_locked(span, 0);
  ha_unlock(HA_RANK_ARENA);
  ha_unlock(HA_RANK_RELEASE);
  return NULL;
}

static void *page_of_samples(void) {
  return ha_page_alloc(0, true);
}

static void *medium_page(void) {
  return ha_page_alloc(ha_class_of(HA_MEDIUM_MAX), false);
}

static void *large_block(void) {
  return malloc(MIB);
}

/* There is one free span. */
TEST(what_is_being_released_is_waited_for_when_there_is_nothing_else) {
  void *(*const wanted[])(void) = {page_of_samples, medium_page, large_block};
  struct ha_page *span = take(64, HA_SLICE);
  ha_resident_set(span->arena, span->start, 64 * HA_SLICE);
  give(span);
  for (size_t i = 0; i < HA_ARRAY_LEN(wanted); i++) {
    pthread_t thread;
    pthread_barrier_t gate;
    pthread_barrier_init(&gate, NULL, 2);
    CHECK_EQ(pthread_create(&thread, NULL, release_slowly, &gate), 0);
    pthread_barrier_wait(&gate);
    struct rlimit before;
    getrlimit(RLIMIT_AS, &before);
    struct rlimit none = {MIB, before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK(wanted[i]() != NULL, "no memory for want %zu, with %lu free slices", i,
          ha_arena_totals().free_slices);
    setrlimit(RLIMIT_AS, &before);
    pthread_join(thread, NULL);
  }
}
