/* SPDX-License-Identifier: MIT */
/*
 * A trace: what happened when, for some seconds. Sampled allocations, beginnings and ends of threads, waits
 * for locks (where they are watched, contention.h), memory given back, the memory limit met.
 *
 * Events go into a buffer that was mapped at the start (65,536 of 96 bytes): one atomic add for the place, no
 * lock, no malloc, 50 ns. When it is full, further ones are counted as dropped. While no trace is taken an
 * event costs a test, and it is only asked where a slow path is taken anyway.
 */
#ifndef HA_SAMPLER_TRACE_H
#define HA_SAMPLER_TRACE_H

#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "sampler/rows.h"
#include "sampler/stack.h"

enum ha_trace_kind {
  HA_TRACE_ALLOC,        /* bytes of the block; the blocks that it stands for */
  HA_TRACE_THREAD_BEGIN, /* stack: of the creator */
  HA_TRACE_THREAD_END,
  HA_TRACE_WAIT,    /* for a lock, a condition or a semaphore */
  HA_TRACE_UNLOCK,  /* others waited for the lock: contentions, nanoseconds */
  HA_TRACE_RELEASE, /* memory given back: bytes */
  HA_TRACE_LIMIT,   /* the memory limit was met: bytes of the limit, and of what it limits */
  HA_TRACE_KIND_COUNT
};

extern int ha_trace_is_on; /* atomic */

void ha_trace_add(enum ha_trace_kind kind, uint64_t start, uint64_t duration, const struct ha_stack *stack,
                  int64_t first, int64_t second);

HA_INLINE bool ha_tracing(void) {
  return ha_unlikely(ha_load_relaxed(&ha_trace_is_on) != 0);
}

/* Something that happened now. stack: NULL if it has none. */
HA_INLINE void ha_trace(enum ha_trace_kind kind, const struct ha_stack *stack, int64_t first,
                        int64_t second) {
  if (ha_tracing()) {
    ha_trace_add(kind, ha_clock_monotonic(), 0, stack, first, second);
  }
}

/* When something begins that ha_trace_since() will tell; 0 while there is no trace. */
HA_INLINE uint64_t ha_trace_clock(void) {
  return ha_tracing() ? ha_clock_monotonic() : 0;
}

HA_INLINE void ha_trace_since(enum ha_trace_kind kind, uint64_t start, int64_t first) {
  if (ha_tracing() && start != 0) {
    ha_trace_add(kind, start, ha_clock_monotonic() - start, NULL, first, 0);
  }
}

/* Begins a trace. 0; -EBUSY if one is running or not discarded; -ENOMEM. */
int ha_trace_start(void);

/* Ends the trace that the caller began. When it returns, nobody is writing an event. */
void ha_trace_stop(void);

/*
 * The ended trace as rows, for the encoder of traces: title is the event's name, the values are its start
 * since that of the trace and its duration, both in nanoseconds, the thread's id, and an enum ha_trace_form.
 * The numbers are its arguments. The rows live until the trace is discarded.
 */
void ha_trace_profile(struct ha_profile *profile);
void ha_trace_discard(void);

enum ha_trace_form {
  HA_TRACE_INSTANT,
  HA_TRACE_SPAN,
  HA_TRACE_NAME /* no event: title is the name of the thread */
};

uint64_t ha_trace_dropped(void);

/* In a forked child: there is no trace. */
void ha_trace_after_fork_in_child(void);

#endif
