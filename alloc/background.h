/* SPDX-License-Identifier: MIT */
/*
 * The background thread: releases what is idle, keeps the memory limit while nobody allocates, and tells the application
 * of pressure.
 *
 * It is started when a limit is set, for the admin port, or when much lies idle, or at start-up if HALLOC_BACKGROUND=1;
 * never with 0. It is called "halloc", blocks all signals, and sleeps nearly always. Without it the slow paths of the program's threads do
 * its work in small pieces, and an idle process keeps what it has.
 *
 * A forked child has no such thread until one is wanted again.
 */
#ifndef HA_ALLOC_BACKGROUND_H
#define HA_ALLOC_BACKGROUND_H

#include "base/compiler.h"

/* So much idle memory is worth a thread. */
#define HA_BACKGROUND_IDLE_MIN ((uint64_t)64 * 1024 * 1024)

bool ha_background_runs(void);

/* Whether the calling thread is the background thread. */
bool ha_background_is_current(void);

/* Starts the thread unless it runs or must not. Not with a lock held; only where a thread may be created. */
void ha_background_start(void);

/* As ha_background_start, from inside malloc or free: not if that was called by libc or ld.so, which may hold the locks
 * that creating a thread takes. */
void ha_background_start_in_malloc(void);

/* Whether the application's code may be called here: on the background thread, or inside malloc and free if they were not
 * called by libc or ld.so, which may hold locks that the code wants. */
bool ha_background_may_call_out(void);

/* Ends the thread's sleep. Async-signal-safe. */
void ha_background_wake(void);

void ha_background_after_fork_in_child(void);

#endif
