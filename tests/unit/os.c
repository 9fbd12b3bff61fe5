/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: an allocation that changes errno, address space that is never given back,
 * memory that is not zero when the kernel is asked for it, an abort because the kernel refused.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/os.h"
#include "tests/test.h"

#define MIB ((size_t)1 << 20)

static bool is_mapped(const void *start) {
  unsigned char resident;
  return mincore((void *)(uintptr_t)start, HA_OS_PAGE, &resident) == 0;
}

TEST(mapped_memory_is_zero_and_writable) {
  char *start = ha_os_map(MIB);
  CHECK(start != NULL, "no memory");
  for (size_t i = 0; i < MIB; i++) {
    CHECK_EQ(start[i], '\0');
  }
  memset(start, 1, MIB);
}

TEST(alignments_are_met_and_the_surplus_is_given_back) {
  for (size_t alignment = HA_OS_PAGE; alignment <= 1024 * MIB; alignment *= 2) {
    char *start = ha_os_map_aligned(3 * HA_OS_PAGE, alignment);
    CHECK(start != NULL && (uintptr_t)start % alignment == 0, "alignment %zu gives %p", alignment,
          (void *)start);
    memset(start, 1, 3 * HA_OS_PAGE);
    CHECK(!is_mapped(start + 3 * HA_OS_PAGE) || !is_mapped(start - HA_OS_PAGE),
          "alignment %zu leaves surplus", alignment);
    CHECK(ha_os_unmap(start, 3 * HA_OS_PAGE), "unmap fails");
    CHECK(!is_mapped(start), "unmapped memory is still there");
  }
}

TEST(what_cannot_be_had_is_null_and_errno_stays) {
  errno = ENOTTY;
  CHECK(ha_os_map((size_t)1 << 60) == NULL, "an exbibyte was mapped");
  CHECK(ha_os_reserve((size_t)1 << 60) == NULL, "an exbibyte was reserved");
  CHECK(ha_os_map_aligned(HA_OS_PAGE, (size_t)1 << 62) == NULL, "alignment 2^62 was met");
  CHECK(ha_os_map_aligned(SIZE_MAX - HA_OS_PAGE + 1, 2 * HA_OS_PAGE) == NULL, "the padded size overflowed");
  CHECK_EQ(errno, ENOTTY);
}

TEST(reserved_space_is_not_resident) {
  char *start = ha_os_reserve(64 * MIB);
  unsigned char resident[16];
  CHECK(start != NULL, "no space");
  CHECK_EQ(mincore(start, 16 * HA_OS_PAGE, resident), 0);
  CHECK_EQ(resident[0] & 1, 0);
  start[0] = 1;
}

TEST(memory_is_null_at_the_address_space_limit) {
  struct rlimit limit = {64 * MIB, 64 * MIB};
  CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  CHECK(ha_os_map(128 * MIB) == NULL, "the limit does not hold");
  CHECK(ha_os_map(HA_OS_PAGE) != NULL, "one OS page cannot be had");
}
