/* SPDX-License-Identifier: MIT */
/*
 * The frame table: an array in order of arrival and a hash table of indexes into it. For naming, the
 * addresses are sorted once, so that those of one mapping are neighbours and the symbol search gets them in
 * order.
 */
#include "proto/frames.h"

#include <errno.h>

#include "base/sort.h"
#include "proto/symbols.h"
#include "sampler/rows.h"

#define FIRST_SLOTS 1024
/* 2^64 divided by the golden ratio (Knuth's multiplicative hashing): spreads neighbours far apart. */
#define HASH_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define HASH_SHIFT 32

void ha_frames_init(struct ha_frames *frames, struct ha_scratch *scratch) {
  *frames = (struct ha_frames){.scratch = scratch};
}

/* The slot that holds pc or, if none does, the free one where it belongs. */
static uint32_t *find_slot(const struct ha_frames *frames, uintptr_t pc) {
  uint32_t mask = frames->slot_count - 1;
  uint32_t at = (uint32_t)((pc * HASH_FACTOR) >> HASH_SHIFT) & mask;
  while (frames->slots[at] != 0 && frames->items[frames->slots[at] - 1].pc != pc) {
    at = (at + 1) & mask;
  }
  return &frames->slots[at];
}

static int grow_slots(struct ha_frames *frames) {
  uint32_t larger = frames->slot_count == 0 ? FIRST_SLOTS : frames->slot_count * 2;
  uint32_t *slots = ha_scratch_zalloc(frames->scratch, larger, sizeof(*slots));
  if (slots == NULL || larger == 0) {
    return -ENOMEM;
  }
  frames->slots = slots;
  frames->slot_count = larger;
  for (uint32_t i = 0; i < frames->count; i++) {
    *find_slot(frames, frames->items[i].pc) = i + 1;
  }
  return 0;
}

int ha_frames_intern(struct ha_frames *frames, uintptr_t pc, uint32_t *ret_index) {
  if (frames->count >= frames->slot_count / 2 && grow_slots(frames) != 0) {
    return -ENOMEM;
  }
  uint32_t *slot = find_slot(frames, pc);
  if (*slot == 0) {
    struct ha_frame *items =
        ha_scratch_room(frames->scratch, frames->items, frames->count, &frames->capacity, sizeof(*items));
    if (items == NULL) {
      return -ENOMEM;
    }
    frames->items = items;
    items[frames->count++] = (struct ha_frame){.pc = pc, .mapping = HA_FRAME_NO_MAPPING};
    *slot = frames->count;
  }
  *ret_index = *slot - 1;
  return 0;
}

const struct ha_frame *ha_frames_find(const struct ha_frames *frames, uintptr_t pc) {
  uint32_t number = frames->slot_count == 0 ? 0 : *find_slot(frames, pc);
  return number == 0 ? NULL : &frames->items[number - 1];
}

/* The first of the sorted addresses at or above an address. */
static uint32_t lower_bound(const struct ha_sort_item *order, uint32_t count, uintptr_t address) {
  uint32_t low = 0, high = count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (order[middle].key < address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* Names the count frames that lie in one mapping, in the given order. */
static int resolve_mapping(struct ha_frames *frames, const struct ha_sort_item *order, uint32_t count,
                           const struct ha_mapping *mapping, uint32_t mapping_index) {
  if (count == 0) {
    return 0;
  }
  struct ha_symbol *symbols = ha_scratch_zalloc(frames->scratch, count, sizeof(*symbols));
  if (symbols == NULL) {
    return -ENOMEM;
  }
  for (uint32_t i = 0; i < count; i++) {
    symbols[i].address = order[i].key;
  }
  int error = ha_symbols_find(frames->scratch, mapping, symbols, count);
  for (uint32_t i = 0; i < count; i++) {
    struct ha_frame *frame = &frames->items[order[i].index];
    frame->mapping = mapping_index;
    frame->name = symbols[i].name;
    frame->entry = symbols[i].entry;
  }
  return error;
}

int ha_frames_resolve(struct ha_frames *frames, const struct ha_mappings *mappings) {
  struct ha_sort_item *order = ha_scratch_zalloc(frames->scratch, frames->count, sizeof(*order));
  if (order == NULL) {
    return -ENOMEM;
  }
  for (uint32_t i = 0; i < frames->count; i++) {
    order[i] = (struct ha_sort_item){.key = frames->items[i].pc, .index = i};
  }
  ha_sort(order, frames->count);
  for (uint32_t i = 0; i < frames->count; i++) {
    frames->items[i].name = ha_synthetic_name(frames->items[i].pc);
    frames->items[i].entry = frames->items[i].pc;
  }
  int error = 0;
  for (uint32_t i = 0; i < mappings->count && error == 0; i++) {
    const struct ha_mapping *mapping = &mappings->items[i];
    uint32_t first = lower_bound(order, frames->count, mapping->start);
    uint32_t end = lower_bound(order, frames->count, mapping->limit);
    error = resolve_mapping(frames, order + first, end - first, mapping, i);
  }
  return error;
}
