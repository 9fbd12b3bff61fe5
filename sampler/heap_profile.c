/* SPDX-License-Identifier: MIT */
/*
 * Entries to rows.
 */
#include "sampler/heap_profile.h"

#include <string.h>

#include "labels/set.h"
#include "sampler/interval.h"
#include "sampler/table.h"

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

/* The size that names the row. Blocks of one class whose sizes differ lie in one eighth between two powers of two, as
 * does their mean: the end of that eighth is the same in every profile, and the mean is not. 0: of the overflow entry,
 * which has all sizes. */
static uint64_t size_of_row(const struct ha_entry *entry, const struct ha_counts *allocated) {
  if (entry->block_size != 0 || allocated->samples == 0 || ha_table_is_overflow(entry)) {
    return entry->block_size;
  }
  const unsigned eighth = 3;
  uint64_t last = allocated->sample_bytes / allocated->samples - 1;
  unsigned log = 63 - (unsigned)__builtin_clzll(last | 1 << eighth);
  return ((last >> (log - eighth)) + 1) << (log - eighth);
}

static void fill(struct ha_row *row, const struct ha_entry *entry, struct ha_counts *ret_live) {
  struct ha_counts allocated = ha_entry_counts(entry, ret_live);
  *row = (struct ha_row){
      .frames = entry->stack->frames,
      .frame_count = entry->stack->frame_count,
      .label_set = entry->label_set,
      .block_size = size_of_row(entry, &allocated),
  };
  row->values[ALLOC_OBJECTS] = ha_weight_whole(allocated.objects);
  row->values[ALLOC_SPACE] = (int64_t)allocated.bytes;
  row->values[INUSE_OBJECTS] = ha_weight_whole(ret_live->objects);
  row->values[INUSE_SPACE] = (int64_t)ret_live->bytes;
  row->sampled[ALLOC_OBJECTS] = (int64_t)allocated.samples;
  row->sampled[ALLOC_SPACE] = (int64_t)allocated.sample_bytes;
  row->sampled[INUSE_OBJECTS] = (int64_t)ret_live->samples;
  row->sampled[INUSE_SPACE] = (int64_t)ret_live->sample_bytes;
  row->variances[ALLOC_OBJECTS] = allocated.object_variance;
  row->variances[ALLOC_SPACE] = allocated.byte_variance;
  row->variances[INUSE_OBJECTS] = ret_live->object_variance;
  row->variances[INUSE_SPACE] = ret_live->byte_variance;
}

struct emission {
  const struct ha_ages *ages; /* NULL: one row for each entry */
  ha_row_fn *fn;
  void *arg;
};

/* What was allocated in a row that looks the same in every profile, since readers take differences between profiles
 * row by row; what is in use in others, which do not. */
static void emit_split(const struct emission *emission, const struct ha_entry *entry, struct ha_row *row,
                       const struct ha_counts *live) {
  row->values[INUSE_OBJECTS] = row->values[INUSE_SPACE] = 0;
  row->sampled[INUSE_OBJECTS] = row->sampled[INUSE_SPACE] = 0;
  row->variances[INUSE_OBJECTS] = row->variances[INUSE_SPACE] = 0;
  emission->fn(row, emission->arg);
  memset(row->values, 0, sizeof row->values);
  memset(row->sampled, 0, sizeof row->sampled);
  memset(row->variances, 0, sizeof row->variances);
  ha_ages_split(emission->ages, entry, live, row, INUSE_OBJECTS, emission->fn, emission->arg);
}

static void emit(struct ha_entry *entry, void *arg) {
  const struct emission *emission = arg;
  struct ha_row row;
  struct ha_counts live;
  fill(&row, entry, &live);
  if (row.sampled[ALLOC_OBJECTS] == 0) {
    return;
  }
  if (emission->ages != NULL) {
    emit_split(emission, entry, &row, &live);
  } else {
    emission->fn(&row, emission->arg);
  }
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  struct emission emission = {profile->source, fn, arg};
  ha_table_visit(emit, &emission);
}

void ha_heap_profile(struct ha_profile *profile, const char *name, const struct ha_ages *ages) {
  bool allocs = name[0] == 'a';
  *profile = (struct ha_profile){
      .name = name,
      .types = {{"alloc_objects", "count"},
                {"alloc_space", "bytes"},
                {"inuse_objects", "count"},
                {"inuse_space", "bytes"}},
      .type_count = 4,
      .default_type = allocs ? "alloc_space" : NULL,
      .period_type = {"space", "bytes"},
      .period = ha_rate(),
      .label = ha_label_set_item,
      .has_sampled = true,
      .visit = visit,
      .source = ages,
  };
}

static void add_row(const struct ha_row *row, void *arg) {
  struct ha_heap_totals *totals = arg;
  for (int i = 0; i < HA_ROW_VALUES_MAX; i++) {
    totals->values[i] += row->values[i];
    totals->sampled[i] += row->sampled[i];
    totals->variances[i] += row->variances[i];
  }
  if (row->frames[0] == HA_FRAME_OVERFLOW) {
    totals->overflow_samples += (uint64_t)row->sampled[ALLOC_OBJECTS];
  }
}

struct ha_heap_totals ha_heap_totals(void) {
  struct ha_heap_totals totals = {.overflow_samples = 0};
  struct emission emission = {NULL, add_row, &totals};
  ha_table_visit(emit, &emission);
  return totals;
}
