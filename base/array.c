/* SPDX-License-Identifier: MIT */
/*
 * A table of pieces.
 */
#include "base/array.h"

#define PIECE_ITEMS ((uint32_t)1 << HA_ARRAY_PIECE_BITS)

static void *take(const struct ha_array *array, size_t size) {
  return array->memory.alloc(array->memory.source, size);
}

void *ha_array_add(struct ha_array *array) {
  if (array->pieces == NULL) {
    array->pieces = take(array, HA_ARRAY_PIECES * sizeof *array->pieces);
  }
  uint32_t piece = array->count / PIECE_ITEMS;
  if (array->pieces == NULL || piece == HA_ARRAY_PIECES) {
    return NULL;
  }
  if (array->pieces[piece] == NULL) {
    array->pieces[piece] = take(array, PIECE_ITEMS * array->item_size);
    if (array->pieces[piece] == NULL) {
      return NULL;
    }
  }
  return ha_array_at(array, array->count++);
}
