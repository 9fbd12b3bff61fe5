/* SPDX-License-Identifier: MIT */
/*
 * An array of sums of weights and, where sizes differ, one of bytes behind it.
 */
#include "sampler/lifetimes.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "labels/set.h"
#include "sampler/interval.h"

enum { FREED_OBJECTS, FREED_SPACE };

/* Lower bounds. A lifetime is known to a tick: more than n ticks have passed for certain if n + 1 are counted, so a
 * row's blocks have lived at least as long as it says, and less than a tick longer than the next one says. */
static const struct {
  uint32_t ticks;
  int64_t milliseconds;
} bounds[HA_LIFETIMES] = {{0, 0},
                          {1, 16},
                          {HA_TICKS_PER_SECOND / 8, 125},
                          {HA_TICKS_PER_SECOND, 1000},
                          {HA_TICKS_PER_SECOND * 10, 10000},
                          {HA_TICKS_PER_SECOND * 60, 60000}};

static uint64_t *make(struct ha_entry *entry) {
  uint64_t *none = NULL;
  uint64_t *made = ha_table_memory(HA_LIFETIMES * sizeof *made * (entry->block_size == 0 ? 2 : 1));
  if (made == NULL || ha_cas_strong_acq_rel(&entry->lifetimes, &none, made)) {
    return made;
  }
  return none; /* the other is lost to the region */
}

void ha_lifetimes_count(struct ha_entry *entry, uint32_t ticks, uint64_t weight, size_t block_size) {
  uint64_t *counts = ha_load_acquire(&entry->lifetimes);
  if (counts == NULL && (counts = make(entry)) == NULL) {
    return;
  }
  unsigned span = 0;
  while (span + 1 < HA_LIFETIMES && ticks > bounds[span + 1].ticks) {
    span++;
  }
  ha_add_relaxed(&counts[span], weight);
  if (entry->block_size == 0) {
    ha_add_relaxed(&counts[HA_LIFETIMES + span], ha_weight_bytes(weight, block_size));
  }
}

struct emission {
  ha_row_fn *fn;
  void *arg;
};

/* Sums of weights and, if sizes differ, of bytes. milliseconds: NULL if the lifetime is not known. */
static void emit_row(const struct emission *emission, const struct ha_entry *entry, const uint64_t *weights,
                     const uint64_t *sizes, const int64_t *milliseconds) {
  uint64_t objects = ha_load_relaxed(weights);
  uint64_t bytes =
      entry->block_size != 0 ? ha_weight_bytes(objects, entry->block_size) : ha_load_relaxed(sizes);
  if (objects == 0) {
    return;
  }
  struct ha_row row = ha_entry_row(entry, objects, bytes);
  row.values[FREED_OBJECTS] = ha_weight_whole(objects);
  row.values[FREED_SPACE] = (int64_t)bytes;
  if (milliseconds != NULL) {
    row.numbers[row.number_count++] = (struct ha_row_number){"lifetime", *milliseconds, "milliseconds"};
  }
  emission->fn(&row, emission->arg);
}

static void emit(struct ha_entry *entry, void *arg) {
  const uint64_t *counts = ha_load_acquire(&entry->lifetimes);
  if (counts == NULL) {
    /* Nothing was freed, or there was no room for the counters. */
    emit_row(arg, entry, &entry->freed.objects, &entry->freed.bytes, NULL);
    return;
  }
  for (unsigned span = 0; span < HA_LIFETIMES; span++) {
    emit_row(arg, entry, &counts[span], &counts[HA_LIFETIMES + span], &bounds[span].milliseconds);
  }
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  struct emission emission = {fn, arg};
  ha_table_visit(emit, &emission);
}

void ha_lifetimes_profile(struct ha_profile *profile, const char *name) {
  *profile = (struct ha_profile){
      .name = name,
      .types = {{"freed_objects", "count"}, {"freed_space", "bytes"}},
      .type_count = 2,
      .period_type = {"space", "bytes"},
      .period = ha_rate(),
      .label = ha_label_set_item,
      .visit = visit,
  };
}
