/* SPDX-License-Identifier: MIT */
/*
 * fork in a threaded program: the child starts with no lock held and with one thread's heap in use.
 *
 * Before the fork every lock is taken in rank order, so nothing they protect is in the middle of a change. glibc's
 * own fork takes stdio's list lock after these handlers; a thread that holds that lock may be waiting for memory,
 * hence for our locks. So stdio's lock is taken first here (it is recursive), and made new in the child. Pages of threads that do not exist in the child stay as they are: their blocks can be freed, but what those
 * threads had free is not used again there.
 */
#include <pthread.h>
#include <stdio.h>

#include "alloc/background.h"
#include "alloc/heap_pool.h"
#include "alloc/own_thread.h"
#include "alloc/pressure.h"
#include "base/lock.h"
#include "base/plugin.h"
#include "sampler/cpu.h"
#include "sampler/peak.h"
#include "sampler/thread_list.h"
#include "sampler/thread_stacks.h"
#include "sampler/trace.h"

/* Exported by glibc for this purpose (GLIBC_2.2.5), declared nowhere. */
extern void _IO_list_lock(void);
extern void _IO_list_unlock(void);
extern void _IO_list_resetlock(void);

static void before_fork(void) {
  ha_plugin_before_fork(); /* first: who loads allocates and opens files */
  _IO_list_lock();
  ha_locks_before_fork();
}

static void after_fork_in_parent(void) {
  ha_locks_after_fork_in_parent();
  _IO_list_unlock();
  ha_plugin_after_fork_in_parent();
}

static void after_fork_in_child(void) {
  /* glibc has done it only if the parent had threads; held by us it would stay held for ever. */
  _IO_list_resetlock();
  ha_locks_after_fork_in_child();
  ha_plugin_after_fork_in_child();
  ha_cpu_after_fork_in_child();
  ha_thread_after_fork_in_child();
  ha_thread_stacks_after_fork_in_child();
  ha_trace_after_fork_in_child();
  ha_heap_after_fork_in_child();
  ha_peak_after_fork_in_child();
  ha_own_thread_after_fork_in_child();
  ha_background_after_fork_in_child();
  ha_pressure_after_fork_in_child();
}

/* Early among constructors: handlers registered first run last before the fork and first after it, so the
 * other libraries' handlers can allocate. */
__attribute__((constructor(101))) static void register_fork_handlers(void) {
  ha_locks_notice_forks();
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
