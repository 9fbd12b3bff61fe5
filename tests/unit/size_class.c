/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a block smaller than asked for, an unaligned one, or memory wasted on one
 * size.
 */
#include "alloc/size_class.h"
#include "tests/test.h"

TEST(every_size_fits_its_class) {
  for (size_t size = 0; size <= HA_MEDIUM_MAX; size++) {
    unsigned size_class = ha_class_of(size);
    CHECK(size_class < HA_CLASS_COUNT, "size %zu has class %u", size, size_class);
    CHECK(ha_class_size(size_class) >= size, "size %zu has blocks of %zu", size, ha_class_size(size_class));
  }
}

TEST(no_smaller_class_would_do) {
  for (size_t size = 1; size <= HA_MEDIUM_MAX; size++) {
    unsigned size_class = ha_class_of(size);
    CHECK(size_class == 0 || ha_class_size(size_class - 1) < size, "size %zu fits class %u", size,
          size_class - 1);
  }
}

TEST(waste_above_128_is_at_most_an_eighth) {
  for (size_t size = HA_LINEAR_MAX + 1; size <= HA_MEDIUM_MAX; size++) {
    size_t waste = ha_class_size(ha_class_of(size)) - size;
    CHECK(waste * 8 <= size, "size %zu wastes %zu", size, waste);
  }
}

TEST(classes_grow_and_keep_the_alignment) {
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    size_t size = ha_class_size(size_class);
    CHECK(size % HA_BLOCK_ALIGNMENT == 0, "class %u has size %zu", size_class, size);
    CHECK(size_class == 0 || size > ha_class_size(size_class - 1), "class %u is not larger than the last",
          size_class);
    CHECK_EQ(ha_class_of(size), size_class);
  }
  CHECK_EQ(ha_class_size(HA_CLASS_COUNT - 1), (size_t)HA_MEDIUM_MAX);
}

TEST(large_sizes_go_on_with_the_same_numbering) {
  unsigned last = HA_CLASS_COUNT - 1;
  for (size_t size = HA_MEDIUM_MAX + 4096; size <= (size_t)1 << 40; size += size / 9 / 4096 * 4096 + 4096) {
    unsigned size_class = ha_class_of(size);
    CHECK(size_class >= last && ha_class_size(size_class) >= size, "size %zu has class %u", size, size_class);
    CHECK((ha_class_size(size_class) - size) * 8 <= size, "sizes of class %u differ by more than an eighth",
          size_class);
    last = size_class;
  }
}

static void check_aligned(size_t size, size_t alignment) {
  unsigned size_class = ha_class_of(ha_size_for_alignment(size, alignment));
  size_t block = ha_class_size(size_class);
  CHECK(size_class < HA_CLASS_COUNT && block >= size && block % alignment == 0,
        "size %zu alignment %zu has class %u of %zu bytes", size, alignment, size_class, block);
  for (unsigned smaller = 0; smaller < size_class; smaller++) {
    size_t other = ha_class_size(smaller);
    CHECK(other < size || other % alignment != 0, "size %zu alignment %zu: class %u would do", size,
          alignment, smaller);
  }
}

TEST(aligned_classes_are_the_smallest_whose_blocks_are_all_aligned) {
  for (size_t alignment = 16; alignment <= 64 * 1024; alignment *= 2) {
    for (size_t size = 0; ha_align_up(size, alignment) <= HA_MEDIUM_MAX; size += size / 50 + 1) {
      check_aligned(size, alignment);
    }
  }
}
