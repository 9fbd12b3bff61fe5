/* SPDX-License-Identifier: MIT */
/*
 * Threads of halloc's own: the background thread and the admin port's.
 *
 * They are detached, block all signals, begin without labels and have a small stack. What libc allocates to create one
 * comes from the creating thread's heap; statistics leave it out and no sample is taken of it.
 *
 * Such threads do not keep a process alive: when all threads of the program have ended, one of ours ends the process,
 * as libc does when the last thread ends.
 */
#ifndef HA_ALLOC_OWN_THREAD_H
#define HA_ALLOC_OWN_THREAD_H

#include "base/compiler.h"

/* Not with a lock held, and only where a thread may be created. The name has at most 15
 * bytes. run must not return. */
bool ha_own_thread_create(void (*run)(void), const char *name);

/* Blocks of the class that creating threads took from the heap. */
uint64_t ha_own_thread_blocks(unsigned size_class);

/* Whether a thread is being created, so that those numbers are about to change. */
bool ha_own_thread_is_starting(void);

/* Ends the process if only our own threads are left. Called by these, now and then. */
void ha_own_thread_exit_if_alone(void);

void ha_own_thread_after_fork_in_child(void);

#endif
