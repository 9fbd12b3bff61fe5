/* SPDX-License-Identifier: MIT */
/*
 * The functions and fields for released memory and the limit, for programs that also run beside a library
 * that lacks them: functions are found at run time, and a field counts once its name is given here.
 */
#ifndef TESTS_API_LIMIT_H
#define TESTS_API_LIMIT_H

#include "tests/api/hp.h"

/* The field of struct hp_memstats. */
#define FIELD_RELEASED_TOTAL ReleasedTotal /* bytes ever given back to the kernel */

/* False if the process has no hp_free_os_memory. */
bool hp_free_os(void);

/* hp_set_memory_limit. False if the process has none; else *limit becomes the previous limit. */
bool hp_limit(int64_t *limit);

/* hp_on_memory_pressure. False if the process has none. */
bool hp_tell(void (*fn)(const struct hp_pressure *, void *), void *arg);

/* Sys - HeapReleased, which the limit limits; and the part of it that are arenas and blocks. */
static inline uint64_t hp_limited(const struct hp_memstats *stats) {
  return stats->Sys - stats->HeapReleased;
}
static inline uint64_t hp_backed(const struct hp_memstats *stats) {
  return stats->HeapSys - stats->HeapReleased;
}

/* Bytes given back so far; false while the statistics do not tell. */
static inline bool hp_released_total(const struct hp_memstats *stats, uint64_t *bytes) {
#ifdef FIELD_RELEASED_TOTAL
  *bytes = stats->FIELD_RELEASED_TOTAL;
  return true;
#else
  (void)stats;
  *bytes = 0;
  return false;
#endif
}

#endif
