/* SPDX-License-Identifier: MIT */
/*
 * An array that grows in pieces and never moves, in memory that its owner gives back all at once.
 *
 * For what is gathered while a profile is written: its size is not known before, and growing by moving would
 * need twice the memory. Items are zero when they are added. Costs 32 KiB and what the items need, rounded up
 * to pieces of 1024.
 */
#ifndef HA_BASE_ARRAY_H
#define HA_BASE_ARRAY_H

#include "base/compiler.h"

/* Where memory comes from: zeroed, aligned for any object; NULL if there is none. */
struct ha_memory {
  void *(*alloc)(const void *source, size_t size);
  const void *source;
};

struct ha_array {
  struct ha_memory memory;
  size_t item_size;
  uint32_t count;
  char **pieces; /* NULL until the first item */
};

HA_INLINE struct ha_array ha_array_of(size_t item_size, struct ha_memory memory) {
  return (struct ha_array){memory, item_size, 0, NULL};
}

#define HA_ARRAY_PIECE_BITS 10
#define HA_ARRAY_PIECES ((uint32_t)4096)

/* A new item at the end, or NULL: no memory, or four million items. */
void *ha_array_add(struct ha_array *array);

/* index < count */
HA_INLINE void *ha_array_at(const struct ha_array *array, uint32_t index) {
  const uint32_t mask = (1u << HA_ARRAY_PIECE_BITS) - 1;
  return array->pieces[index >> HA_ARRAY_PIECE_BITS] + (index & mask) * array->item_size;
}

#endif
