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

/* The coarse clock in units of 1/64 s, for what keeps many times: wraps after 776 days. The compiler makes a
 * multiplication of the division. */
#define HA_TICKS_PER_SECOND 64

HA_INLINE uint32_t ha_clock_ticks(void) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint32_t)now.tv_sec * HA_TICKS_PER_SECOND +
         (uint32_t)now.tv_nsec / (uint32_t)(HA_SECOND / HA_TICKS_PER_SECOND);
}

/* From one to the other; 0 if `then` is up to four hours later, as it may be when it was read after `now`. */
HA_INLINE uint32_t ha_ticks_between(uint32_t then, uint32_t now) {
  const uint32_t later = 1u << 20;
  uint32_t ticks = now - then;
  return ticks < UINT32_MAX - later ? ticks : 0;
}

/* Processor time of the calling thread; a system call. */
HA_INLINE uint64_t ha_clock_thread(void) {
  return ha_clock_read(CLOCK_THREAD_CPUTIME_ID);
}

#endif
