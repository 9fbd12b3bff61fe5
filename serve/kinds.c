/* SPDX-License-Identifier: MIT */
/*
 * One line for each kind.
 */
#include "serve/kinds.h"

#include <string.h>

#include "base/compiler.h"
#include "serve/rss_profile.h"
#include "serve/sampled_kinds.h"

static const struct ha_kind kinds[] = {
    {"allocs", ha_kind_open_heap, true, NULL},
    {"delta_heap", ha_kind_open_delta, false, ha_kind_complete_delta},
    {"fragmentation", ha_kind_open_fragmentation, false, NULL},
    {"heap", ha_kind_open_heap, true, NULL},
    {"lifetimes", ha_kind_open_lifetimes, false, NULL},
    {"peak", ha_kind_open_peak, false, NULL},
    {"rss", ha_rss_profile, true, NULL},
    {"since_mark", ha_kind_open_since_mark, false, NULL},
};

void *ha_kind_alloc(const struct ha_kind_memory *memory, size_t size) {
  void *block = memory->encoders->scratch_alloc(memory->scratch, size);
  return block != NULL ? memset(block, 0, size) : NULL;
}

const struct ha_kind *ha_kind_find(const char *name) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(kinds); i++) {
    if (strcmp(kinds[i].name, name) == 0) {
      return &kinds[i];
    }
  }
  return NULL;
}

const struct ha_kind *ha_kind_at(unsigned index) {
  return index < HA_ARRAY_LEN(kinds) ? &kinds[index] : NULL;
}
