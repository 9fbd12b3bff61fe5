/* SPDX-License-Identifier: MIT */
/*
 * The memory limit: a bound on what halloc takes from the machine, kept by giving idle memory back.
 *
 *   quantity = resident OS pages of arenas + huge blocks + halloc's own memory = Sys - HeapReleased
 *
 * The quantity grows before memory is touched (resident.h), so what is given back in time keeps the real use below the
 * limit as well. After an allocation has grown it beyond the limit, the allocating thread makes room: it empties its
 * outbox, gives up its empty pages, asks the other threads to do so, and releases idle spans, down to a little below
 * the limit. If that is not enough the limit is exceeded: a soft one is reported and left at that, under a hard one the
 * allocation fails.
 *
 * Making room may take a tenth of one processor's time (a leaky bucket); when that is used up, and while a recent
 * attempt has shown that nothing is to be had, allocations go on without. Cost where no limit is set: one load in a
 * slow path.
 */
#ifndef HA_ALLOC_LIMIT_H
#define HA_ALLOC_LIMIT_H

#include "alloc/heap.h"
#include "base/atomic.h"

#define HA_LIMIT_NONE INT64_MAX

extern int64_t ha_limit_bytes; /* atomic */

/* Sys - HeapReleased. Any thread, some loads. */
uint64_t ha_limit_quantity(void);

HA_INLINE bool ha_limit_is_set(void) {
  return ha_load_relaxed(&ha_limit_bytes) != HA_LIMIT_NONE;
}

HA_INLINE bool ha_limit_is_exceeded(void) {
  return ha_unlikely(ha_limit_is_set()) && ha_limit_quantity() > (uint64_t)ha_load_relaxed(&ha_limit_bytes);
}

/* Makes room after the limit was exceeded. heap: the calling thread's, or NULL. Not with a lock held, nor in the middle of
 * a change of the heap. */
void ha_limit_make_room(struct ha_heap *heap);

/* After an allocation was refused: looks for memory inside the pages of the thread, and asks the others to. Whether it may
 * be tried again. As ha_limit_make_room. */
bool ha_limit_collect(struct ha_heap *heap);

extern bool ha_limit_is_hard;

/* As ha_limit_refuses, under a hard limit. */
bool ha_limit_refuses_slow(size_t bytes);

/* Whether a hard limit forbids to take so much more. Gives idle spans back before it says so. */
HA_INLINE bool ha_limit_refuses(size_t bytes) {
  return ha_unlikely(ha_limit_is_hard) && ha_limit_is_set() && ha_limit_refuses_slow(bytes);
}

/* Sets the limit and makes room; returns the previous one. Negative: only returns it. */
int64_t ha_limit_set(int64_t bytes);

/* Takes the configured limit. Once, when threads can be created. */
void ha_limit_start_up(void);

/* The background thread's part: follows the cgroup, reports, and tells the application. */
void ha_limit_tick(uint64_t now);

/* Bytes above 95 % of the limit; 0 without one. */
size_t ha_limit_surplus(void);

/* How often the limit could not be kept. */
uint64_t ha_limit_exceeded_count(void);

#endif
