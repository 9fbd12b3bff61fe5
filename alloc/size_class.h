/* SPDX-License-Identifier: MIT */
/*
 * Size classes: 16-byte steps up to 128 bytes, then eight classes per doubling.
 *
 * Above 128 bytes a block is at most 12.5 % larger than the request. Every size is a multiple of 16, so every block
 * is aligned to 16, and a block is aligned to every power of two that divides its class's size.
 * Classes up to HA_MEDIUM_MAX have pages of their own; the same numbering goes on above it, where it only names
 * the size of a large block in the sample table.
 */
#ifndef HA_ALLOC_SIZE_CLASS_H
#define HA_ALLOC_SIZE_CLASS_H

#include "base/compiler.h"
#include "halloc.h"

#define HA_BLOCK_ALIGNMENT 16
#define HA_LINEAR_MAX 128 /* 16-byte steps up to here */
#define HA_LINEAR_CLASSES 8
#define HA_DIRECT_MAX 1024      /* looked up by table up to here */
#define HA_SMALL_MAX (8 * 1024) /* pages of one slice up to here */
#define HA_MEDIUM_MAX (128 * 1024)
#define HA_CLASS_COUNT HP_SIZE_CLASSES

_Static_assert((17 - 7) * 8 + HA_LINEAR_CLASSES == HA_CLASS_COUNT, "classes end at HA_MEDIUM_MAX = 2^17");

HA_INLINE unsigned ha_class_of(size_t size) {
  if (size <= HA_LINEAR_MAX) {
    return size == 0 ? 0 : (unsigned)((size + 15) / 16) - 1;
  }
  size_t last = size - 1;
  unsigned log = 63 - (unsigned)__builtin_clzl(last);
  return (log - 7) * 8 + (unsigned)((last >> (log - 3)) & 7) + HA_LINEAR_CLASSES;
}

HA_INLINE size_t ha_class_size(unsigned size_class) {
  if (size_class < HA_LINEAR_CLASSES) {
    return (size_class + 1) * 16;
  }
  unsigned step = size_class - HA_LINEAR_CLASSES;
  unsigned log = 7 + step / 8;
  return ((size_t)1 << log) + ((size_t)(step % 8 + 1) << (log - 3));
}

/* The request to make instead so that the block is aligned to a power of two from HA_BLOCK_ALIGNMENT to HA_SLICE. Pages
 * start at multiples of HA_SLICE, so a class serves an alignment when that divides its size. The steps between classes
 * are powers of two: the class of a multiple of the alignment has that very size if the step is smaller than the
 * alignment, and else a multiple of the step, which the alignment divides. */
HA_INLINE size_t ha_size_for_alignment(size_t size, size_t alignment) {
  return ha_align_up(size != 0 ? size : 1, alignment);
}

#endif
