/* SPDX-License-Identifier: MIT */
/*
 * Waiting for each other: who made others wait for a lock (Go's mutex profile) and who waited (Go's block
 * profile).
 *
 * What happens to locks is seen by libhalloc-locks.so (lock_hooks.h), which a process loads if it wants that.
 * Here is what becomes of it: two tallies, made when something is first watched, of 16 MiB of address space
 * each, that live as long as the process. An event costs a stack walk, and nothing while nothing is watched.
 */
#ifndef HA_SAMPLER_CONTENTION_H
#define HA_SAMPLER_CONTENTION_H

#include "sampler/lock_hooks.h"
#include "sampler/rows.h"

/* Sets what is watched and returns what was: for HA_WAIT_CAUSED one of so many contentions, for
 * HA_WAIT_SUFFERED the nanoseconds of a wait that is seen once on average; 0: none; negative: no change.
 * If libhalloc-locks.so is not loaded, or is of another version, nothing changes and *ret_is_missing is
 * set. Any thread, any time. */
int64_t ha_contention_watch(enum ha_wait wait, int64_t value, bool *ret_is_missing);

/* The profile "mutex" or "block": everything but time and comments. */
void ha_contention_profile(enum ha_wait wait, struct ha_profile *profile);

/* The profile "delta_mutex" or "delta_block": what came since the last of them that was completed. HA_RANK_PROFILE is
 * held from one to the other. */
void ha_contention_delta(enum ha_wait wait, struct ha_profile *profile);
void ha_contention_complete_delta(const struct ha_profile *profile);

/* Events that found no room in the tally, counted under "[overflow]". */
int64_t ha_contention_overflow(enum ha_wait wait);

#endif
