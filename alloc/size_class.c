/* SPDX-License-Identifier: MIT */
/*
 * The class for an aligned request: since pages start at multiples of 64 KiB, a class serves an alignment exactly
 * when the alignment divides its size. Powers of two are classes, so at most eight steps are needed.
 */
#include "alloc/size_class.h"

_Static_assert((17 - 7) * 8 + HA_LINEAR_CLASSES == HA_CLASS_COUNT, "classes end at HA_MEDIUM_MAX = 2^17");

unsigned ha_class_of_aligned(size_t size, size_t alignment) {
  unsigned size_class = ha_class_of(ha_align_up(size != 0 ? size : 1, alignment));
  while ((ha_class_size(size_class) & (alignment - 1)) != 0) {
    size_class++;
  }
  return size_class;
}
