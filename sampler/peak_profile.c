/* SPDX-License-Identifier: MIT */
/*
 * Gathered first, in a moment, and encoded later: the peak is held no longer than needed.
 */
#include "sampler/peak_profile.h"

#include "labels/set.h"
#include "sampler/interval.h"

enum { INUSE_OBJECTS, INUSE_SPACE };

/* A peak may follow that was just being reached when it was held; hardly twice. */
#define TRIES 4

struct site {
  const struct ha_entry *entry;
  uint64_t objects;
  uint64_t bytes;
};

struct gathering {
  struct ha_peak_rows *rows;
  uint32_t next; /* place for the next site */
  bool is_out_of_memory;
};

static void gather(struct ha_entry *entry, void *arg) {
  struct gathering *gathering = arg;
  struct ha_peak_rows *rows = gathering->rows;
  struct ha_counts counts = ha_peak_of(entry, rows->peak.height);
  if (counts.objects == 0) {
    return;
  }
  if (gathering->next == rows->sites.count && ha_array_add(&rows->sites) == NULL) {
    gathering->is_out_of_memory = true;
    return;
  }
  struct site *site = ha_array_at(&rows->sites, gathering->next++);
  *site = (struct site){entry, counts.objects, counts.bytes};
}

bool ha_peak_gather(struct ha_peak_rows *rows, struct ha_memory memory) {
  struct gathering gathering = {.rows = rows};
  rows->sites = ha_array_of(sizeof(struct site), memory);
  rows->peak = ha_peak_hold();
  for (int i = 0; i < TRIES; i++) {
    gathering.next = 0;
    ha_table_visit(gather, &gathering);
    uint64_t height = rows->peak.height;
    rows->peak = ha_peak_hold();
    if (rows->peak.height == height) {
      break;
    }
  }
  ha_peak_release();
  rows->sites.count = gathering.next;
  return !gathering.is_out_of_memory;
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  const struct ha_peak_rows *rows = profile->source;
  for (uint32_t i = 0; i < rows->sites.count; i++) {
    const struct site *site = ha_array_at(&rows->sites, i);
    struct ha_row row = ha_entry_row(site->entry, site->objects, site->bytes);
    row.values[INUSE_OBJECTS] = ha_weight_whole(site->objects);
    row.values[INUSE_SPACE] = (int64_t)site->bytes;
    fn(&row, arg);
  }
}

void ha_peak_profile(struct ha_profile *profile, const char *name, const struct ha_peak_rows *rows) {
  *profile = (struct ha_profile){
      .name = name,
      .types = {{"inuse_objects", "count"}, {"inuse_space", "bytes"}},
      .type_count = 2,
      .period_type = {"space", "bytes"},
      .period = ha_rate(),
      .label = ha_label_set_item,
      .visit = visit,
      .source = rows,
  };
}
