/* SPDX-License-Identifier: MIT */
/*
 * The distinct code addresses of a profile, each with its mapping and its function.
 *
 * An address goes in as met and gets the next index; ha_frames_resolve() then names all of them at once, file
 * by file. One snapshot of the mappings serves the whole profile, so an address has one mapping and is its
 * own key. Costs about 110 bytes per distinct address.
 */
#ifndef HA_PROTO_FRAMES_H
#define HA_PROTO_FRAMES_H

#include "proto/mappings.h"
#include "proto/scratch.h"

#define HA_FRAME_NO_MAPPING UINT32_MAX

struct ha_frame {
  uintptr_t pc;
  const char *name; /* NULL: unknown */
  uintptr_t entry;  /* where the function begins, if it has a name */
  uint32_t mapping; /* index, or HA_FRAME_NO_MAPPING */
};

struct ha_frames {
  struct ha_scratch *scratch;
  struct ha_frame *items;
  uint32_t count;
  uint32_t capacity;
  uint32_t *slots;     /* open addressing: index + 1 of the frame, 0 is free */
  uint32_t slot_count; /* a power of two, more than half free; 0 before the first frame */
};

/* The address inside the call that will return to return_address: one less lies in the same line. */
static inline uintptr_t ha_frame_pc(uintptr_t return_address) {
  return return_address == 0 ? 0 : return_address - 1;
}

void ha_frames_init(struct ha_frames *frames, struct ha_scratch *scratch);
/* The index of the frame at pc, new or not; 0 or -ENOMEM. */
int ha_frames_intern(struct ha_frames *frames, uintptr_t pc, uint32_t *ret_index);
/* The frame at pc, or NULL. */
const struct ha_frame *ha_frames_find(const struct ha_frames *frames, uintptr_t pc);
/* Fills mapping, name and entry of all frames; 0 or -ENOMEM. */
int ha_frames_resolve(struct ha_frames *frames, const struct ha_mappings *mappings);

#endif
