/* SPDX-License-Identifier: MIT */
/*
 * The sum and its maximum are one pair of words, changed together.
 */
#include "sampler/peak.h"

struct ha_peak_state ha_peak_state __attribute__((aligned(HA_CACHE_LINE)));

static uint32_t peak_ticks; /* atomic: when it was; written after it */
static bool is_held;        /* atomic */

/* Marks the copies that this process is taking: raised by a fork, so that no copy is waited for in vain. */
static uint32_t process = 1;

HA_NOINLINE void ha_peak_copy(struct ha_entry *entry) {
  struct ha_peak_copy *copy = &entry->at_peak;
  uint32_t other = ha_load_relaxed(&entry->copier);
  if (other == process || !ha_cas_strong_acq_rel(&entry->copier, &other, process)) {
    return; /* it is being copied */
  }
  uint64_t height = ha_load_acquire(&ha_peak_state.highest);
  if (ha_load_relaxed(&copy->height) != height) {
    struct ha_counts live;
    ha_entry_counts(entry, &live);
    ha_store_relaxed(&copy->objects, live.objects);
    ha_store_relaxed(&copy->bytes, live.bytes);
    ha_store_release(&copy->height, height); /* pairs with the acquire in ha_peak_of */
  }
  ha_store_release(&entry->copier, 0);
}

bool ha_peak_raise(uint64_t bytes, uint32_t ticks) {
  struct ha_peak_state old = {ha_load_relaxed(&ha_peak_state.live), ha_load_relaxed(&ha_peak_state.highest)};
  for (;;) {
    struct ha_peak_state next = {old.live + bytes, old.highest};
    bool is_peak = next.live > old.highest && !ha_load_relaxed(&is_held);
    next.highest = is_peak ? next.live : old.highest;
    if (ha_cas_pair(&ha_peak_state, &old, &next)) {
      if (is_peak) {
        ha_store_relaxed(&peak_ticks, ticks);
      }
      return is_peak;
    }
  }
}

struct ha_peak ha_peak_hold(void) {
  ha_store_relaxed(&is_held, true);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return (struct ha_peak){ha_load_acquire(&ha_peak_state.highest), ha_load_relaxed(&peak_ticks)};
}

void ha_peak_release(void) {
  ha_store_release(&is_held, false);
}

struct ha_counts ha_peak_of(const struct ha_entry *entry, uint64_t height) {
  struct ha_counts counts = {0};
  if (ha_load_acquire(&entry->at_peak.height) != height) {
    ha_entry_counts(entry, &counts);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
  }
  /* Copied by now, because it was changing: then the copy is right. */
  if (ha_load_acquire(&entry->at_peak.height) == height) {
    counts.objects = ha_load_relaxed(&entry->at_peak.objects);
    counts.bytes = ha_load_relaxed(&entry->at_peak.bytes);
  }
  return counts;
}

void ha_peak_after_fork_in_child(void) {
  process++;
}
