/* SPDX-License-Identifier: MIT */
/*
 * Recording and retiring samples. Counters are relaxed atomic adds; a reader that loads `freed` before
 * `allocated` never sees more freed than allocated, because every record happens before its retirement.
 */
#include "sampler/sample.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "base/config.h"
#include "labels/context.h"
#include "labels/thread_name.h"
#include "sampler/interval.h"
#include "sampler/lifetimes.h"
#include "sampler/mark.h"
#include "sampler/peak.h"
#include "sampler/probe.h"
#include "sampler/trace.h"
#include "sampler/trail.h"
#include "sampler/unwind.h"

static HA_TLS bool
    taking; /* set while this thread looks for a site: whatever allocates meanwhile is not sampled */
static uint64_t dropped[HA_DROP_COUNT];
static struct ha_entry uncounted; /* only its address matters */

static void add_double(double *sum, double value) {
  double known, raised;
  __atomic_load(sum, &known, __ATOMIC_RELAXED);
  do {
    raised = known + value;
  } while (!__atomic_compare_exchange(sum, &known, &raised, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

HA_NOINLINE static void count_variance(const struct ha_entry *entry, struct ha_counts *counts,
                                       uint64_t weight, size_t block_size) {
  double blocks = (double)weight / (double)HA_WEIGHT_ONE;
  double variance = blocks * (blocks - 1);
  add_double(&counts->object_variance, variance);
  if (entry->block_size == 0) {
    add_double(&counts->byte_variance, variance * (double)block_size * (double)block_size);
  }
}

static void count(const struct ha_entry *entry, struct ha_counts *counts, uint64_t weight,
                  size_t block_size) {
  if (weight != HA_WEIGHT_ONE) {
    count_variance(entry, counts, weight, block_size);
  }
  if (entry->block_size == 0) {
    uint64_t bytes = (uint64_t)(((unsigned __int128)weight * block_size) >> HA_WEIGHT_SHIFT);
    ha_add_relaxed(&counts->sample_bytes, block_size);
    ha_add_relaxed(&counts->bytes, bytes);
  }
  ha_add_relaxed(&counts->samples, 1);
  /* Release: pairs with the acquire in the reader, which must not see this free before its allocation. */
  __atomic_fetch_add(&counts->objects, weight, __ATOMIC_RELEASE);
}

bool ha_sample_pause(bool is_paused) {
  bool was_paused = taking;
  taking = is_paused;
  return was_paused;
}

HA_NOINLINE struct ha_entry *ha_sample_site(uint32_t size_class, size_t block_size) {
  if (taking) {
    ha_sample_drop(HA_DROP_REENTRANT);
    return NULL;
  }
  taking = true;
  ha_trail_open();
  uint32_t depth = (uint32_t)ha_config.stack_depth;
  uintptr_t *frames = __builtin_alloca(depth * sizeof *frames);
  struct ha_trail_walk path;
  uint32_t frame_count = ha_unwind_on_trail(frames, depth, &path);
  if (frame_count == 0) {
    frames[frame_count++] = HA_FRAME_UNKNOWN;
  }
  const struct ha_stack *stack = ha_stack_intern(frames, frame_count);
  ha_trail_end(&path, stack);
  uint32_t labels = ha_labels_current();
  if (ha_unlikely(ha_config.label_thread != 0)) {
    labels = ha_labels_with_thread(labels);
  }
  struct ha_entry *entry = ha_table_entry(stack, size_class, labels, block_size);
  taking = false;
  return entry;
}

/* When and since which mark it lives: the mark first, so that whoever sees the new one has a later time. */
static void stamp(struct ha_sample *sample, size_t slack) {
  uint32_t mark = ha_mark_now() & ((1u << HA_SAMPLE_MARK_BITS) - 1);
  uint32_t kept = slack < HA_SAMPLE_SLACK_MAX ? (uint32_t)slack : HA_SAMPLE_SLACK_MAX;
  sample->slack_and_mark = kept << HA_SAMPLE_MARK_BITS | mark;
  sample->born = ha_clock_ticks();
}

void ha_sample_record(struct ha_sample *sample, struct ha_entry *entry, size_t block_size, size_t requested,
                      int64_t rate) {
  sample->weight = ha_interval_weight(block_size, rate);
  stamp(sample, block_size - requested);
  ha_peak_before_alloc(entry, ha_weight_bytes(sample->weight, block_size), sample->born);
  count(entry, &entry->allocated, sample->weight, block_size);
  ha_store_release(&sample->entry, entry);
  ha_trace(HA_TRACE_ALLOC, entry->stack, (int64_t)block_size, (int64_t)(sample->weight >> HA_WEIGHT_SHIFT));
}

void ha_sample_mark_uncounted(struct ha_sample *sample) {
  ha_store_release(&sample->entry, &uncounted);
}

bool ha_sample_is_counted(const struct ha_entry *entry) {
  return entry != NULL && entry != &uncounted;
}

bool ha_sample_retire(struct ha_sample *sample, const void *block, size_t block_size) {
  struct ha_entry *entry = ha_exchange_acq_rel(&sample->entry, NULL);
  if (ha_sample_is_counted(entry)) {
    uint32_t lifetime = ha_ticks_between(sample->born, ha_clock_ticks());
    ha_peak_before_free(entry, ha_weight_bytes(sample->weight, block_size));
    ha_lifetimes_count(entry, lifetime, sample->weight, block_size);
    count(entry, &entry->freed, sample->weight, block_size);
    ha_probe_free(block);
  }
  return entry != NULL;
}

void ha_sample_drop(enum ha_drop reason) {
  ha_add_relaxed(&dropped[reason], 1);
}

uint64_t ha_samples_dropped(enum ha_drop reason) {
  return ha_load_relaxed(&dropped[reason]);
}

const char *ha_drop_name(enum ha_drop reason) {
  static const char *const names[HA_DROP_COUNT] = {"reentrant", "no_memory"};
  return names[reason];
}
