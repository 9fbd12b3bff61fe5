/* SPDX-License-Identifier: MIT */
/*
 * Giving idle memory back to the kernel.
 *
 * What is released is the memory of free spans, the largest first, with MADV_DONTNEED, in pieces during which no other
 * lock than HA_RANK_RELEASE is held: whoever allocates meanwhile finds the other spans. MADV_FREE is never used, since
 * HeapReleased would then not agree with what the kernel says.
 *
 * How much is kept: the peak of slices in use in the last one to two windows of two seconds, and a tenth more, as the
 * Go scavenger does; so a load that goes up and down releases nothing. The rest goes at about one percent of the
 * processors' time: by the background thread, or without it, by threads that free, a little at a time.
 */
#ifndef HA_ALLOC_RELEASE_H
#define HA_ALLOC_RELEASE_H

#include "base/compiler.h"

/* Releases `bytes` or a little more, less if there is no more. Returns how much. */
size_t ha_release(size_t bytes);

/* Everything that is idle. */
size_t ha_release_all(void);

/* What the policy wants released now, in bytes. `now`: nanoseconds of the monotonic clock. One thread at a time. */
size_t ha_release_surplus(uint64_t now);

/* Released OS pages of pages in use, beside the spans: up to max_pages pages that have been idle are looked at, or all.
 * Returns how many. */
size_t ha_release_in_pages(bool all, size_t max_pages);

/* Bytes that lie idle, or may: free spans, sparse pages not looked at yet, and pages that their owners should look at. */
uint64_t ha_release_idle_bytes(void);

/* A thread has given a page or a large block back: now and then releases a little, where no background thread does. Not
 * with a lock held. */
void ha_release_poke(void);

/* Bytes ever released, and the processor time that took, in nanoseconds. */
struct ha_release_totals {
  uint64_t bytes;
  uint64_t nanos;
};
struct ha_release_totals ha_release_totals(void);

#endif
