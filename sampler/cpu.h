/* SPDX-License-Identifier: MIT */
/*
 * The CPU profile: where the process spends processor time, by samples of 10 ms.
 *
 * Every thread has a timer on its own CPU clock that sends it SIGPROF after each 10 ms of processor time; the
 * first comes after a random part of that, so that short threads count for what they use on average. A thread
 * that does not run gets no signal. The handler walks the interrupted stack and adds it, with the thread's
 * labels, to a tally in memory of its own (32 MiB of address space): no lock, no malloc, a few microseconds.
 * What finds no room counts as "[overflow]". A signal that comes late, because the thread had it blocked or
 * did not get to run, stands for as many samples as fell due. The kernel looks at timers of this kind at its
 * own tick only (4 ms, typically), so what a thread owes at its end is settled then, or short threads would
 * be missing.
 *
 * The program's own handler of SIGPROF is never replaced. Ours stays when a profile is over, since a late
 * signal would kill the process otherwise; only a disposition of SIG_IGN is put back. Timers are not
 * inherited by fork and end with exec, unlike interval timers.
 */
#ifndef HA_SAMPLER_CPU_H
#define HA_SAMPLER_CPU_H

#include "sampler/rows.h"
#include "sampler/thread_list.h"

#define HA_CPU_PERIOD_NANOS 10000000

/* Begins a profile. 0; -EBUSY if one is running or has not been discarded, or, with *ret_is_taken, if the
 * program has a handler for SIGPROF; -ENOMEM; -EPERM or the like if signals or timers are refused. */
int ha_cpu_start(bool *ret_is_taken);

/* Threads that were started in other ways than pthread_create are found: once at the start, and whenever
 * this is called. While a profile runs. */
void ha_cpu_find_threads(void);

/* Ends the profile that the caller began. When it returns, no handler is at work. */
void ha_cpu_stop(void);

/* Describes the ended profile: everything but time and comments. Its rows live until it is discarded. */
void ha_cpu_profile(struct ha_profile *profile);
void ha_cpu_discard(void);

struct ha_cpu_counts {
  uint64_t samples;    /* taken */
  uint64_t unwalked;   /* of those: stack unknown */
  uint64_t overflowed; /* of those: no room for the stack */
  uint64_t untimed;    /* threads that got no timer (RLIMIT_SIGPENDING) */
};

/* Of the profile that has ended and is not discarded. */
struct ha_cpu_counts ha_cpu_counts(void);

/* HA_RANK_THREADS is held: a thread's timer, if a profile runs, that counts from now or from the thread's
 * beginning; or none any more. The calling thread ends: a sample that has fallen due since the kernel last
 * looked is taken now, with the thread's first function as its stack. */
void ha_cpu_timer_arm(struct ha_thread *thread, bool is_new);
void ha_cpu_timer_settle(const struct ha_thread *thread);
void ha_cpu_timer_disarm(struct ha_thread *thread);

/* In a forked child: no profile runs. */
void ha_cpu_after_fork_in_child(void);

#endif
