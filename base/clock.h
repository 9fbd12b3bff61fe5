/* SPDX-License-Identifier: MIT */
/*
 * Clocks, in nanoseconds. All are async-signal-safe and keep errno.
 */
#ifndef HA_BASE_CLOCK_H
#define HA_BASE_CLOCK_H

#include <time.h>

#include "base/compiler.h"

#define HA_SECOND UINT64_C(1000000000)

HA_INLINE uint64_t ha_clock_read(clockid_t clock) {
  struct timespec now = {0, 0};
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * HA_SECOND + (uint64_t)now.tv_nsec;
}

/* Since some start; 25 ns. */
HA_INLINE uint64_t ha_clock_monotonic(void) {
  return ha_clock_read(CLOCK_MONOTONIC);
}

/* The same to a few milliseconds; 5 ns. */
HA_INLINE uint64_t ha_clock_coarse(void) {
  return ha_clock_read(CLOCK_MONOTONIC_COARSE);
}

/* Processor time of the calling thread; a system call. */
HA_INLINE uint64_t ha_clock_thread(void) {
  return ha_clock_read(CLOCK_THREAD_CPUTIME_ID);
}

#endif
