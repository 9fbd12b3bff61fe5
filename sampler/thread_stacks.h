/* SPDX-License-Identifier: MIT */
/*
 * The stacks of all threads, each walked by its own thread.
 *
 * No thread can walk another's stack safely while that runs. So every thread is sent a signal, whose handler
 * walks the interrupted stack into a place prepared for it; the caller waits for all, a second at most. No
 * thread is stopped, so the stacks are not of one instant. The signal is SIGURG, which nobody notices if it
 * comes late since it is ignored by default; if the program handles that itself, a real-time signal that is
 * free. The handler is installed for the moment only.
 *
 * Not sent anything, and listed with a reason: threads that block the signal, and those that wait for signals
 * (sigwait, pause, sigsuspend), which would take it for one of the program's. As with any signal, sleep, poll
 * and other calls that SA_RESTART does not cover return early with EINTR in the threads that are in them.
 *
 * Costs two reads of /proc and a signal for each thread, some 40 microseconds together.
 */
#ifndef HA_SAMPLER_THREAD_STACKS_H
#define HA_SAMPLER_THREAD_STACKS_H

#include <sys/types.h>

#include "base/compiler.h"

#define HA_THREAD_NAME_MAX 16 /* as in the kernel: 15 bytes and NUL */

enum ha_reach {
  HA_REACHED,
  HA_BLOCKS_SIGNALS, /* blocks the signal, or is halloc's or the kernel's own */
  HA_AWAITS_SIGNALS, /* in a call whose purpose is to be interrupted */
  HA_NO_ANSWER,      /* within the time: in an uninterruptible state, or starved */
  HA_NO_SIGNAL_FREE, /* no signal could be used at all */
};

struct ha_thread_stack {
  pid_t id;
  int answer; /* atomic; thread_stacks.c */
  enum ha_reach reach;
  int syscall_number; /* that the thread was in; -1: none, or unknown */
  char run_state;     /* as in /proc: R, S, D, T, t */
  char name[HA_THREAD_NAME_MAX];
  uint32_t label_set;
  uint32_t frame_count; /* 0 if not reached */
  uintptr_t pc;         /* where it is in its system call, if it was not reached; 0: unknown */
  uintptr_t *frames;
};

struct ha_thread_stacks {
  size_t size; /* of the whole */
  uint32_t capacity;
  uint32_t count;
  struct ha_thread_stack items[];
};

/* The calling thread first. One collection at a time, others wait for their turn. Not with a lock held.
 * NULL without memory or without /proc. */
struct ha_thread_stacks *ha_thread_stacks_collect(void);

void ha_thread_stacks_free(struct ha_thread_stacks *stacks);

/* In a forked child: nothing is being collected. */
void ha_thread_stacks_after_fork_in_child(void);

/* "futex", or NULL for a number that has no name here. */
const char *ha_wait_name(int syscall_number);

#endif
