/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: profiler tables that grow without bound, or that hand one piece to two
 * threads.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "base/region.h"
#include "tests/test.h"

#define MIB ((size_t)1 << 20)
#define THREADS 8

TEST(pieces_are_zero_aligned_and_counted) {
  static struct ha_region region = HA_REGION_INIT(MIB);
  size_t sum = 0;
  for (size_t size = 1; size < 2000; size += 37) {
    char *piece = ha_region_alloc(&region, size);
    CHECK(piece != NULL && (uintptr_t)piece % 16 == 0, "size %zu gives %p", size, (void *)piece);
    for (size_t i = 0; i < size; i++) {
      CHECK_EQ(piece[i], '\0');
    }
    memset(piece, 1, size);
    sum += (size + 15) / 16 * 16;
  }
  CHECK_EQ(ha_region_used(&region), sum);
}

TEST(a_full_region_gives_null_and_smaller_pieces_still_fit) {
  static struct ha_region region = HA_REGION_INIT(MIB);
  CHECK(ha_region_alloc(&region, MIB - 64) != NULL, "less than the limit does not fit");
  CHECK(ha_region_alloc(&region, 65) == NULL, "more than the limit fits");
  CHECK(ha_region_alloc(&region, 64) != NULL, "the rest cannot be had");
  CHECK(ha_region_alloc(&region, 1) == NULL, "a full region gave a piece");
  CHECK_EQ(ha_region_used(&region), MIB);
}

TEST(with_little_address_space_the_region_is_smaller) {
  static struct ha_region region = HA_REGION_INIT(1024 * MIB);
  struct rlimit limit = {128 * MIB, 128 * MIB};
  CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  size_t got = 0;
  while (ha_region_alloc(&region, 4096) != NULL) {
    got += 4096;
  }
  CHECK(got >= 32 * MIB && got < 128 * MIB, "%zu bytes under a limit of 128 MiB", got);
  CHECK_EQ(ha_region_used(&region), got);
}

static struct ha_region shared = HA_REGION_INIT(8 * MIB);
static pthread_barrier_t start;
static size_t counts[THREADS];

static void *fill(void *arg) {
  size_t thread = (size_t)arg;
  pthread_barrier_wait(&start);
  char *piece;
  while ((piece = ha_region_alloc(&shared, 48)) != NULL) {
    for (int i = 0; i < 48; i++) {
      CHECK(piece[i] == 0, "a piece was handed out twice, byte %d is %d", i, piece[i]);
    }
    memset(piece, (int)thread + 1, 48);
    counts[thread]++;
  }
  return NULL;
}

TEST(eight_threads_fill_it_to_the_last_piece) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&start, NULL, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, fill, (void *)i);
  }
  size_t sum = 0;
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    sum += counts[i];
  }
  CHECK(sum + THREADS >= 8 * MIB / 48 && sum <= 8 * MIB / 48, "%zu pieces of 48 bytes in 8 MiB", sum);
}
