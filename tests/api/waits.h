/* SPDX-License-Identifier: MIT */
/*
 * What tests of waits need: the settings, the profiles as sums, a moment at which another thread waits.
 */
#ifndef TESTS_API_WAITS_H
#define TESTS_API_WAITS_H

#include <time.h>
#include <unistd.h>

#include "tests/test.h"

#define NOINLINE __attribute__((noinline))
#define MILLISECOND 1000000
#define NEEDS_LOCKS CHECK(has_locks(), "libhalloc-locks.so is not loaded");

int set_fraction(int n);   /* hp_set_mutex_profile_fraction */
void set_rate(int64_t ns); /* hp_set_block_profile_rate */
bool has_locks(void);      /* libhalloc-locks.so is loaded */

int64_t now(void); /* nanoseconds */
struct timespec in_real_time(int64_t nanos);

struct sums {
  int64_t nanos;
  int64_t contentions;
  int rows;
};

/* Of the rows of a profile that mention a word; "" is in all of them. */
struct sums sums_of(const char *profile, const char *word);

/* Until the thread waits in futex: the kernel shows the call it is in. *id: 0 until the thread has begun. */
void wait_until_it_waits(pid_t *id);

#endif
