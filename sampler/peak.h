/* SPDX-License-Identifier: MIT */
/*
 * The live heap at its highest, kept while the program runs and without ever looking at all of it.
 *
 * Live bytes (estimates, as the in-use values of the heap profile) are summed up with each sample. When the sum
 * reaches a new maximum, that is all that happens: at this moment the peak is what the entries count. An entry that is
 * about to change for the first time after it first keeps a copy of what it has in use, with the peak's height as
 * name of the peak. So what an entry had at the peak is its copy if that is of this peak, else what it has.
 *
 * The sum and its maximum change in one step, so no thread that is held up between them can put the peak elsewhere.
 * Lock-free; a copy is taken by one thread at a time. What races can cost: a sample that is being taken or freed at
 * the moment of the peak may be missing from it or be too many, one for each thread that is in the sampler then. And
 * who finds its entry being copied does not wait: what it changes is not kept apart. That is a few instructions long,
 * unless the kernel puts the copying thread aside just then, and ends with the next peak. While a profile of it is
 * gathered the peak is held (ha_peak_hold): a higher one that comes and goes in these milliseconds is missed.
 *
 * Costs a sample some 30 instructions, and 100 where its entry must be copied.
 */
#ifndef HA_SAMPLER_PEAK_H
#define HA_SAMPLER_PEAK_H

#include "base/atomic.h"
#include "sampler/table.h"

struct ha_peak_state {
  uint64_t live;    /* atomic: bytes */
  uint64_t highest; /* atomic: the most that it was */
};
extern struct ha_peak_state ha_peak_state;

/* True if this is a new peak; `ticks` is now. */
bool ha_peak_raise(uint64_t bytes, uint32_t ticks);
void ha_peak_copy(struct ha_entry *entry);

HA_INLINE void ha_peak_keep(struct ha_entry *entry) {
  if (ha_load_acquire(&entry->at_peak.height) != ha_load_acquire(&ha_peak_state.highest)) {
    ha_peak_copy(entry);
  }
}

/* To be called before the entry counts a sample of so many bytes as allocated. What makes the peak needs no copy: the
 * entry as it is with it is what it was at the peak. */
HA_INLINE void ha_peak_before_alloc(struct ha_entry *entry, uint64_t bytes, uint32_t ticks) {
  if (!ha_peak_raise(bytes, ticks)) {
    ha_peak_keep(entry);
  }
}

/* Before it counts one as freed. */
HA_INLINE void ha_peak_before_free(struct ha_entry *entry, uint64_t bytes) {
  ha_peak_keep(entry);
  ha_add_relaxed(&ha_peak_state.live, -bytes);
}

struct ha_peak {
  uint64_t height; /* bytes in use */
  uint32_t ticks;  /* when */
};

/* Keeps the peak from moving on until it is let go of; one holder at a time (HA_RANK_PROFILE). A higher one
 * that was just being reached may still follow. */
struct ha_peak ha_peak_hold(void);
void ha_peak_release(void);

/* What the entry had in use at the peak: objects and bytes. The peak is held. */
struct ha_counts ha_peak_of(const struct ha_entry *entry, uint64_t height);

/* A thread that the child does not have may have been copying. */
void ha_peak_after_fork_in_child(void);

#endif
