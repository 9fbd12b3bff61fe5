/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: free() of any address whatever reading memory that is not mapped, or taking
 * one block for another.
 */
#include <stdlib.h>

#include "alloc/page_map.h"
#include "base/lock.h"
#include "tests/test.h"

static char *const region = (char *)((uintptr_t)40 << HA_REGION_SHIFT); /* far from anything mapped */

TEST(addresses_that_were_never_ours_have_no_page) {
  uint64_t random = 20240611;
  CHECK(ha_page_of(NULL) == NULL, "NULL has a page");
  CHECK(ha_page_of((void *)UINTPTR_MAX) == NULL, "the last address has a page");
  CHECK(ha_page_of((void *)((uintptr_t)1 << 47)) == NULL, "a kernel address has a page");
  CHECK(ha_page_of(&random) == NULL, "the stack has a page");
  for (int i = 0; i < 1000000; i++) {
    const void *address = (void *)(uintptr_t)(test_random(&random) >> (i % 40));
    struct ha_page *page = ha_page_of(address);
    CHECK(page == NULL ||
              ((char *)address >= page->start && (char *)address < page->start + page->slices * HA_SLICE),
          "%p has a page", address);
  }
}

TEST(slices_that_are_set_are_found_and_no_others) {
  struct ha_page *page = malloc(sizeof *page);
  ha_lock(HA_RANK_ARENA);
  CHECK(ha_page_map_cover(region, 10 * HA_SLICE), "no memory");
  ha_page_map_set(region + HA_SLICE, 3, page);
  ha_unlock(HA_RANK_ARENA);
  CHECK(ha_page_of(region + HA_SLICE - 1) == NULL, "the byte before is found");
  CHECK_EQ(ha_page_of(region + HA_SLICE), page);
  CHECK_EQ(ha_page_of(region + 4 * HA_SLICE - 1), page);
  CHECK(ha_page_of(region + 4 * HA_SLICE) == NULL, "the byte behind is found");
  ha_lock(HA_RANK_ARENA);
  ha_page_map_set(region + 2 * HA_SLICE, 1, NULL);
  ha_unlock(HA_RANK_ARENA);
  CHECK(ha_page_of(region + 2 * HA_SLICE) == NULL, "a cleared slice is found");
  CHECK_EQ(ha_page_of(region + 3 * HA_SLICE), page);
}

TEST(ranges_across_regions_are_covered) {
  struct ha_page *page = malloc(sizeof *page);
  char *end = region + ((size_t)1 << HA_REGION_SHIFT);
  ha_lock(HA_RANK_ARENA);
  CHECK(ha_page_map_cover(end - HA_SLICE, 2 * HA_SLICE), "no memory");
  ha_page_map_set(end - HA_SLICE, 2, page);
  ha_unlock(HA_RANK_ARENA);
  CHECK_EQ(ha_page_of(end - 1), page);
  CHECK_EQ(ha_page_of(end), page);
  CHECK(ha_page_of(end + HA_SLICE) == NULL, "the slice behind is found");
}

TEST(ranges_beyond_the_address_space_are_refused) {
  ha_lock(HA_RANK_ARENA);
  CHECK(!ha_page_map_cover((void *)(((uintptr_t)1 << 47) - HA_SLICE), 2 * HA_SLICE), "2^47 is covered");
  ha_unlock(HA_RANK_ARENA);
}
