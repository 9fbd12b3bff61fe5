/* SPDX-License-Identifier: MIT */
/*
 * The threads of the process: those that were created through us, with the stack of their creator, and while
 * a CPU profile runs all others that /proc shows.
 *
 * A record is made in the new thread and removed by the destructor of a pthread key, or when /proc no longer
 * shows the thread. 64 bytes of metadata each; a lookup goes through one chain of a hash table. All under
 * HA_RANK_THREADS.
 */
#ifndef HA_SAMPLER_THREAD_LIST_H
#define HA_SAMPLER_THREAD_LIST_H

#include <pthread.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "sampler/stack.h"

#define HA_NO_TIMER (-1)

/* HA_RANK_THREADS. */
struct ha_thread {
  struct ha_thread *next; /* in its chain */
  pid_t id;
  pthread_t self;                 /* if it was created through us */
  int timer;                      /* of the CPU profile, or HA_NO_TIMER */
  const struct ha_stack *creator; /* where it was created; NULL: not known */
  uintptr_t entry;                /* the function it began with; 0: not known */
  uint32_t pass;                  /* of the last look at /proc that showed it */
};

/* In a new thread, before anything of the program runs, which is the function at entry. creator may be
 * NULL. */
void ha_thread_begin(const struct ha_stack *creator, uintptr_t entry);

/* Where a thread was created, or NULL. */
const struct ha_stack *ha_thread_creator(pid_t id);

/* Calls fn for every thread of the process, having made the records that were missing, and forgets those
 * of threads that are no more. Without /proc: only those with records. fn must not allocate or lock. */
void ha_thread_visit(void (*fn)(struct ha_thread *thread, void *arg), void *arg);

/* In a forked child: only the calling thread is left. */
void ha_thread_after_fork_in_child(void);

/* Calls fn for the ids of all threads that /proc shows, but for such as it leaves out because others end
 * meanwhile. False if it cannot be read. No lock, no malloc. */
bool ha_thread_ids(void (*fn)(pid_t id, void *arg), void *arg);

#endif
