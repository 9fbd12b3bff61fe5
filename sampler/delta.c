/* SPDX-License-Identifier: MIT */
/*
 * Both directions of an entry are read once and kept until the end.
 */
#include "sampler/delta.h"

#include "base/clock.h"
#include "labels/set.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/table.h"

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

struct site {
  struct ha_entry *entry;
  struct ha_counts allocated;
  struct ha_counts live;
};

static uint64_t
    reported_at; /* HA_RANK_PROFILE: when the last delta was gathered; at first, the start of the library */

__attribute__((constructor)) static void note_start(void) {
  reported_at = ha_clock_monotonic();
}

struct gathering {
  struct ha_delta *delta;
  bool is_out_of_memory;
};

static void gather(struct ha_entry *entry, void *arg) {
  struct gathering *gathering = arg;
  struct ha_counts live;
  struct ha_counts allocated = ha_entry_counts(entry, &live);
  if (allocated.objects == entry->reported.objects && live.objects == 0) {
    return;
  }
  struct site *site = ha_array_add(&gathering->delta->sites);
  if (site == NULL) {
    gathering->is_out_of_memory = true;
    return;
  }
  *site = (struct site){entry, allocated, live};
}

bool ha_delta_gather(struct ha_delta *delta, struct ha_memory memory) {
  struct gathering gathering = {delta, false};
  *delta = (struct ha_delta){ha_array_of(sizeof(struct site), memory), ha_clock_monotonic()};
  ha_table_visit(gather, &gathering);
  return !gathering.is_out_of_memory;
}

/* The rounded values, not the weights, are subtracted: so deltas add up to what "heap" says. */
static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  const struct ha_delta *delta = profile->source;
  for (uint32_t i = 0; i < delta->sites.count; i++) {
    const struct site *site = ha_array_at(&delta->sites, i);
    const struct ha_entry *entry = site->entry;
    struct ha_row row = ha_entry_row(entry, site->allocated.objects, site->allocated.bytes);
    row.values[ALLOC_OBJECTS] =
        ha_weight_whole(site->allocated.objects) - ha_weight_whole(entry->reported.objects);
    row.values[ALLOC_SPACE] = (int64_t)(site->allocated.bytes - entry->reported.bytes);
    row.values[INUSE_OBJECTS] = ha_weight_whole(site->live.objects);
    row.values[INUSE_SPACE] = (int64_t)site->live.bytes;
    fn(&row, arg);
  }
}

void ha_delta_profile(struct ha_profile *profile, const char *name, const struct ha_delta *delta) {
  ha_heap_profile(profile, name, NULL);
  profile->default_type = "alloc_space";
  profile->duration_nanos = (int64_t)(delta->nanos - reported_at);
  profile->has_sampled = false;
  profile->visit = visit;
  profile->source = delta;
}

void ha_delta_commit(const struct ha_delta *delta) {
  for (uint32_t i = 0; i < delta->sites.count; i++) {
    const struct site *site = ha_array_at(&delta->sites, i);
    site->entry->reported.objects = site->allocated.objects;
    site->entry->reported.bytes = site->allocated.bytes;
  }
  reported_at = delta->nanos;
}
