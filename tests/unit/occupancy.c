/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: free memory that no page holds any more, or that is held and not told.
 */
#include "alloc/occupancy.h"

#include <stdlib.h>

#include "alloc/page.h"
#include "tests/test.h"

#define BLOCKS 10000
#define SIZE 208

static void *blocks[BLOCKS];
static uint64_t free_bytes[HA_CLASS_COUNT];

static void fill(size_t size) {
  hp_set_mem_profile_rate(0);
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = malloc(size);
  }
}

/* Of the class: at least `bytes` and at most what was cut ahead of need in one page. */
static void check_free(uint64_t bytes) {
  unsigned size_class = ha_class_of(SIZE);
  ha_occupancy_read(free_bytes);
  CHECK(free_bytes[size_class] >= bytes && free_bytes[size_class] <= bytes + HA_SLICE,
        "%lu bytes are free, not %lu", free_bytes[size_class], bytes);
}

TEST(free_blocks_of_pages_in_use_are_counted) {
  fill(SIZE);
  check_free(0);
  for (int i = 0; i < BLOCKS; i++) {
    if (i % 20 != 0) {
      free(blocks[i]);
    }
  }
  check_free((uint64_t)BLOCKS / 20 * 19 * SIZE);
}

TEST(a_page_that_nothing_is_in_holds_nothing) {
  fill(SIZE);
  for (int i = 0; i < BLOCKS; i++) {
    free(blocks[i]);
  }
  ha_occupancy_read(free_bytes);
  CHECK_EQ(free_bytes[ha_class_of(SIZE)], (uint64_t)0);
}

TEST(blocks_of_samples_are_counted_too) {
  hp_set_mem_profile_rate(1);
  for (int i = 0; i < 1000; i++) {
    blocks[i] = malloc(SIZE);
  }
  for (int i = 0; i < 1000; i += 2) {
    free(blocks[i]);
  }
  check_free((uint64_t)500 * SIZE);
}
