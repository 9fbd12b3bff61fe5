/* SPDX-License-Identifier: MIT */
/*
 * Telling of memory pressure: the functions that the application has registered, and the report of a limit that was
 * exceeded.
 *
 * Whoever makes room notes what happened; the background thread, or without one the noting thread itself, tells it.
 * Each level is told at most once a second, the report is written at most once a minute.
 */
#ifndef HA_ALLOC_PRESSURE_H
#define HA_ALLOC_PRESSURE_H

#include "base/compiler.h"

/* level: 1 the limit was kept, 2 it was not. Lock-free. */
void ha_pressure_note(int level, uint64_t limit, uint64_t quantity);

/* Calls who is to be told of what was noted, now or, if ha_background_may_call_out says no, next time. `now`: monotonic
 * nanoseconds. Not with a lock held. */
void ha_pressure_deliver(uint64_t now);

/* A delivery that was under way at the fork is nobody's in the child. */
void ha_pressure_after_fork_in_child(void);

/* Who writes the report. Once, at start-up. */
void ha_pressure_report_with(void (*report)(uint64_t limit, uint64_t quantity));

#endif
