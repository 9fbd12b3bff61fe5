/* SPDX-License-Identifier: MIT */
/*
 * The walk is alloc's, sums and rows are sampler's; here they meet.
 */
#include "serve/sampled_kinds.h"

#include "alloc/live.h"
#include "sampler/heap_profile.h"

static void *alloc_for_kind(const void *source, size_t size) {
  return ha_kind_alloc(source, size);
}

/* Good as long as `kind_memory`. */
static struct ha_memory memory_of(const struct ha_kind_memory *kind_memory) {
  return (struct ha_memory){alloc_for_kind, kind_memory};
}

/* mark: NULL for all live samples. NULL without memory. */
static struct ha_ages *gather_ages(const struct ha_kind_memory *memory, const struct ha_mark *mark) {
  struct ha_ages *ages = ha_kind_alloc(memory, sizeof *ages);
  if (ages == NULL) {
    return NULL;
  }
  ha_ages_begin(ages, mark, memory_of(memory));
  ha_live_visit(ha_ages_add, ages);
  return ages->is_out_of_memory ? NULL : ages;
}

int ha_kind_open_heap(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  ha_heap_profile(profile, name, memory->is_for_text ? NULL : gather_ages(memory, NULL));
  return 0;
}
