/* SPDX-License-Identifier: MIT */
/*
 * As frames of a profile are named.
 */
#include "proto/addresses.h"

#include <errno.h>

#include "proto/frames.h"
#include "proto/intern.h"

int ha_addresses_name(struct ha_scratch *scratch, const uintptr_t *addresses, uint32_t count,
                      const char **names) {
  struct ha_frames frames;
  struct ha_mappings mappings;
  uint32_t index;
  ha_frames_init(&frames, scratch);
  int error = 0;
  for (uint32_t i = 0; i < count && error == 0; i++) {
    error = ha_frames_intern(&frames, addresses[i], &index);
  }
  if (error == 0) {
    error = ha_mappings_read(scratch, &mappings);
  }
  if (error == 0) {
    error = ha_frames_resolve(&frames, &mappings);
  }
  for (uint32_t i = 0; i < count && error == 0; i++) {
    const char *name = ha_frames_find(&frames, addresses[i])->name;
    names[i] = name != NULL ? ha_copy_printable(scratch, name) : NULL;
    error = name != NULL && names[i] == NULL ? -ENOMEM : 0;
  }
  return error;
}
