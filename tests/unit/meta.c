/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: two of the library's tables on the same memory (a corrupt heap), or memory of
 * the library that no statistic shows.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/meta.h"
#include "tests/test.h"

#define THREADS 8
#define PIECES 2000
#define SEED 20240609

TEST(new_pieces_are_zero_and_aligned) {
  for (size_t size = 1; size <= (size_t)1 << 20; size = size * 3 + 1) {
    unsigned char *piece = ha_meta_alloc(size, HA_META_SPANS);
    CHECK(piece != NULL && (uintptr_t)piece % 64 == 0, "size %zu gives %p", size, (void *)piece);
    for (size_t i = 0; i < size; i++) {
      CHECK(piece[i] == 0, "byte %zu of %zu is %u", i, size, piece[i]);
    }
    memset(piece, 0xee, size);
  }
}

TEST(bytes_are_counted_under_their_kind) {
  uint64_t spans = ha_meta_bytes(HA_META_SPANS);
  uint64_t heaps = ha_meta_bytes(HA_META_HEAPS);
  void *piece = ha_meta_alloc(5000, HA_META_SPANS);
  CHECK(ha_meta_bytes(HA_META_SPANS) - spans >= 5000, "less is counted than was asked for");
  CHECK_EQ(ha_meta_bytes(HA_META_HEAPS), heaps);
  ha_meta_free(piece, 5000, HA_META_SPANS);
  CHECK_EQ(ha_meta_bytes(HA_META_SPANS), spans);
}

TEST(freed_pieces_serve_again_before_new_memory) {
  void *first = ha_meta_alloc(700, HA_META_PROFILE);
  ha_meta_free(first, 700, HA_META_PROFILE);
  uint64_t unused = ha_meta_unused_bytes();
  void *second = ha_meta_alloc(600, HA_META_HEAPS);
  CHECK_EQ(second, first);
  CHECK_EQ(ha_meta_unused_bytes(), unused - 1024);
}

/* A heap was once made of a used array of sample records, and took its content for lists. */
TEST(a_piece_is_zero_also_when_it_was_used_before) {
  uint64_t *piece = ha_meta_alloc(128, HA_META_SPANS);
  for (uint64_t i = 0; i < 16; i++) {
    piece[i] = i + 1;
  }
  ha_meta_free(piece, 128, HA_META_SPANS);
  CHECK_EQ(ha_meta_alloc(128, HA_META_SPANS), (void *)piece);
  for (uint64_t i = 0; i < 16; i++) {
    CHECK_EQ(piece[i], (uint64_t)0);
  }
}

TEST(impossible_sizes_are_null) {
  CHECK(ha_meta_alloc((size_t)1 << 50, HA_META_SPANS) == NULL, "2^50 bytes were had");
  CHECK(ha_meta_alloc(100, HA_META_SPANS) != NULL, "nothing is left after a failure");
}

struct piece {
  unsigned char *start;
  size_t size;
};

/* Fills each piece with the thread's mark and finds it unchanged at the end: no byte belongs to two pieces.
 */
static void *fill_and_check(void *arg) {
  static struct piece all[THREADS][PIECES];
  size_t thread = (size_t)arg;
  struct piece *pieces = all[thread];
  uint64_t random = SEED + thread;
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < PIECES; i++) {
      size_t size = 1 + test_random(&random) % 3000;
      pieces[i] = (struct piece){ha_meta_alloc(size, (enum ha_meta_kind)(i % HA_META_KIND_COUNT)), size};
      CHECK(pieces[i].start != NULL, "no memory");
      memset(pieces[i].start, (int)thread + 1, size);
    }
    for (int i = 0; i < PIECES; i++) {
      for (size_t k = 0; k < pieces[i].size; k++) {
        CHECK(pieces[i].start[k] == thread + 1, "byte %zu of a piece of thread %zu is %u", k, thread,
              pieces[i].start[k]);
      }
      ha_meta_free(pieces[i].start, pieces[i].size, (enum ha_meta_kind)(i % HA_META_KIND_COUNT));
    }
  }
  return NULL;
}

TEST(eight_threads_never_share_a_byte) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, fill_and_check, (void *)i);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  for (int kind = 0; kind < HA_META_KIND_COUNT; kind++) {
    CHECK_EQ(ha_meta_bytes((enum ha_meta_kind)kind), (uint64_t)0);
  }
}
