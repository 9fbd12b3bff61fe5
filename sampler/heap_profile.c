/* SPDX-License-Identifier: MIT */
/*
 * Entries to rows. Each direction is read once, freed before allocated, so that no row shows more freed than
 * allocated however busy the process is.
 */
#include "sampler/heap_profile.h"

#include "base/atomic.h"
#include "labels/set.h"
#include "sampler/interval.h"
#include "sampler/table.h"

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

static struct ha_counts read_counts(const struct ha_counts *counts, uint64_t block_size) {
  struct ha_counts copy;
  /* Acquire: pairs with the release of the writer's last add, see sample.c. */
  copy.objects = ha_load_acquire(&counts->objects);
  copy.samples = ha_load_relaxed(&counts->samples);
  __atomic_load(&counts->object_variance, &copy.object_variance, __ATOMIC_RELAXED);
  if (block_size != 0) {
    copy.sample_bytes = copy.samples * block_size;
    copy.bytes = (uint64_t)(((unsigned __int128)copy.objects * block_size) >> HA_WEIGHT_SHIFT);
    copy.byte_variance = copy.object_variance * (double)block_size * (double)block_size;
  } else {
    copy.sample_bytes = ha_load_relaxed(&counts->sample_bytes);
    copy.bytes = ha_load_relaxed(&counts->bytes);
    __atomic_load(&counts->byte_variance, &copy.byte_variance, __ATOMIC_RELAXED);
  }
  return copy;
}

static int64_t whole(uint64_t weight) {
  return (int64_t)((weight + HA_WEIGHT_ONE / 2) >> HA_WEIGHT_SHIFT);
}

/* A free that is being counted while we read may be ahead in one field; the difference is never shown
 * negative. */
static uint64_t difference(uint64_t allocated, uint64_t freed) {
  return allocated > freed ? allocated - freed : 0;
}

/* Of what is in use. Without live samples it is 0, not what rounding left. */
static double variance_left(double allocated, double freed, int64_t live_samples) {
  return live_samples > 0 && allocated > freed ? allocated - freed : 0;
}

static void fill(struct ha_row *row, const struct ha_entry *entry) {
  struct ha_counts freed = read_counts(&entry->freed, entry->block_size);
  struct ha_counts allocated = read_counts(&entry->allocated, entry->block_size);
  *row = (struct ha_row){
      .frames = entry->stack->frames,
      .frame_count = entry->stack->frame_count,
      .label_set = entry->label_set,
      .block_size = allocated.samples != 0 ? allocated.sample_bytes / allocated.samples : 0,
  };
  row->values[ALLOC_OBJECTS] = whole(allocated.objects);
  row->values[ALLOC_SPACE] = (int64_t)allocated.bytes;
  row->values[INUSE_OBJECTS] = whole(difference(allocated.objects, freed.objects));
  row->values[INUSE_SPACE] = (int64_t)difference(allocated.bytes, freed.bytes);
  row->sampled[ALLOC_OBJECTS] = (int64_t)allocated.samples;
  row->sampled[ALLOC_SPACE] = (int64_t)allocated.sample_bytes;
  row->sampled[INUSE_OBJECTS] = (int64_t)difference(allocated.samples, freed.samples);
  row->sampled[INUSE_SPACE] = (int64_t)difference(allocated.sample_bytes, freed.sample_bytes);
  int64_t live = row->sampled[INUSE_OBJECTS];
  row->variances[ALLOC_OBJECTS] = allocated.object_variance;
  row->variances[ALLOC_SPACE] = allocated.byte_variance;
  row->variances[INUSE_OBJECTS] = variance_left(allocated.object_variance, freed.object_variance, live);
  row->variances[INUSE_SPACE] = variance_left(allocated.byte_variance, freed.byte_variance, live);
}

struct emission {
  ha_row_fn *fn;
  void *arg;
};

static void emit(struct ha_entry *entry, void *arg) {
  const struct emission *emission = arg;
  struct ha_row row;
  fill(&row, entry);
  if (row.sampled[ALLOC_OBJECTS] != 0) {
    emission->fn(&row, emission->arg);
  }
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  struct emission emission = {fn, arg};
  ha_table_visit(emit, &emission);
}

void ha_heap_profile(struct ha_profile *profile, const char *name) {
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
      .visit = visit,
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
  visit(NULL, add_row, &totals);
  return totals;
}
