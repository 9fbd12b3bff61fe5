/* SPDX-License-Identifier: MIT */
/*
 * Watching locks: what libhalloc.so and libhalloc-locks.so know of each other.
 *
 * libhalloc-locks.so replaces the functions of pthreads that may wait. It is a library of its own because
 * that costs every lock and unlock some instructions even while nothing is watched; a process that does not
 * load it pays nothing. It exports one table, ha_lock_hooks, and needs no other library of halloc's: what it
 * sees goes to the functions it is given.
 */
#ifndef HA_SAMPLER_LOCK_HOOKS_H
#define HA_SAMPLER_LOCK_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

#define HA_LOCK_HOOKS_NAME "ha_lock_hooks"
/* Raised when one of the tables changes: both libraries must be of one version. */
#define HA_LOCK_HOOKS_VERSION 1

enum ha_wait {
  HA_WAIT_CAUSED,   /* others waited for a lock that the calling thread has just let go of */
  HA_WAIT_SUFFERED, /* the calling thread waited */
  HA_WAIT_COUNT
};

struct ha_lock_host {
  /* Unbiased: the count and the nanoseconds that the event stands for; and its own length, until now. The
   * program's locks may be held. */
  void (*report)(enum ha_wait wait, int64_t contentions, int64_t nanos, int64_t length);
  /* Whether code is halloc's: what that does with locks is not watched. */
  bool (*is_own)(uintptr_t address);
};

struct ha_lock_hooks {
  uint32_t version;
  /* fraction: one of so many contentions is charged to who caused it; 0: none. rate: waits of so many
   * nanoseconds are seen once on average for each of that length; 1: all, 0: none. Any thread, any time.
   * host lasts. */
  void (*watch)(const struct ha_lock_host *host, int64_t fraction, int64_t rate);
};

#endif
