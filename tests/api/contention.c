/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a lock that behaves otherwise while it is watched, waits charged to somebody
 * who did not cause them, sums that are off, a child that hangs.
 *
 * Runs with libhalloc-locks.so loaded, but for the last test, which is run by itself without.
 */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/api/hp.h"
#include "tests/api/waits.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t waiter;    /* atomic */
static int64_t waited;  /* atomic; what the program measured itself */
static int64_t started; /* atomic; when the waiter began */

static void sleep_for(int64_t nanos) {
  struct timespec time = {nanos / 1000000000, nanos % 1000000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

NOINLINE static void suffers_the_lock(void) {
  int64_t before = now();
  __atomic_store_n(&started, before, __ATOMIC_RELEASE);
  pthread_mutex_lock(&mutex);
  __atomic_fetch_add(&waited, now() - before, __ATOMIC_RELAXED);
  pthread_mutex_unlock(&mutex);
}

static void *wait_for_mutex(void *arg) {
  __atomic_store_n(&waiter, gettid(), __ATOMIC_RELEASE);
  suffers_the_lock();
  return arg;
}

static int64_t caused;        /* nanoseconds, as the program measured them */
static double caused_squared; /* sum of the squares of the single waits */

NOINLINE static void holds_the_lock(int64_t nanos) {
  pthread_t thread;
  pthread_mutex_lock(&mutex);
  __atomic_store_n(&waiter, 0, __ATOMIC_RELEASE);
  CHECK_EQ(pthread_create(&thread, NULL, wait_for_mutex, NULL), 0);
  wait_until_it_waits(&waiter);
  sleep_for(nanos);
  int64_t length = now() - __atomic_load_n(&started, __ATOMIC_ACQUIRE);
  caused += length;
  caused_squared += (double)length * (double)length;
  pthread_mutex_unlock(&mutex);
  pthread_join(thread, NULL);
}

static void check_within_5_percent(int64_t found, int64_t expected) {
  test_note("%.1f ms, the program measured %.1f", (double)found / MILLISECOND,
            (double)expected / MILLISECOND);
  CHECK(llabs(found - expected) * 20 <= expected, "%lld ns, not %lld", (long long)found, (long long)expected);
}

TEST(a_contended_mutex_is_found_with_its_two_sides) {
  NEEDS_LOCKS
  CHECK_EQ(set_fraction(-1), 0);
  CHECK_EQ(set_fraction(1), 0);
  set_rate(1);
  for (int i = 0; i < 10; i++) {
    holds_the_lock(40 * MILLISECOND);
  }
  CHECK_EQ(set_fraction(0), 1);
  set_rate(0);
  struct sums holder = sums_of("mutex", "holds_the_lock");
  CHECK_EQ(holder.contentions, (int64_t)10);
  CHECK_EQ(holder.rows, 1);
  check_within_5_percent(holder.nanos, caused);
  CHECK_EQ(sums_of("mutex", "suffers_the_lock").rows, 0);
  struct sums sufferer = sums_of("block", "suffers_the_lock");
  CHECK_EQ(sufferer.contentions, (int64_t)10);
  check_within_5_percent(sufferer.nanos, waited);
  CHECK_EQ(sums_of("block", "libhalloc").rows, 0);
  CHECK_EQ(sums_of("mutex", "libhalloc").rows, 0);
}

/* The time is divided among those that held the lock meanwhile: here one waits for two holders. */
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

NOINLINE static void *waits_to_write(void *arg) {
  __atomic_store_n(&waiter, gettid(), __ATOMIC_RELEASE);
  int64_t before = now();
  pthread_rwlock_wrlock(&rwlock);
  __atomic_fetch_add(&waited, now() - before, __ATOMIC_RELAXED);
  pthread_rwlock_unlock(&rwlock);
  return arg;
}

NOINLINE static void reads_for_long(void) {
  sleep_for(60 * MILLISECOND);
  pthread_rwlock_unlock(&rwlock);
  __asm__ volatile("");
}

NOINLINE static void reads_for_a_while(void) {
  sleep_for(30 * MILLISECOND);
  pthread_rwlock_unlock(&rwlock);
  __asm__ volatile("");
}

TEST(holders_share_what_somebody_waited) {
  NEEDS_LOCKS
  pthread_t thread;
  set_fraction(1);
  set_rate(1);
  pthread_rwlock_rdlock(&rwlock);
  pthread_rwlock_rdlock(&rwlock);
  CHECK_EQ(pthread_create(&thread, NULL, waits_to_write, NULL), 0);
  wait_until_it_waits(&waiter);
  reads_for_a_while();
  reads_for_long();
  pthread_join(thread, NULL);
  struct sums first = sums_of("mutex", "reads_for_a_while"), second = sums_of("mutex", "reads_for_long");
  CHECK_EQ(first.contentions, (int64_t)1);
  CHECK_EQ(second.contentions, (int64_t)0);
  CHECK(first.nanos >= 30 * MILLISECOND && second.nanos >= 60 * MILLISECOND, "%lld and %lld ns",
        (long long)first.nanos, (long long)second.nanos);
  CHECK(first.nanos + second.nanos <= waited, "%lld and %lld ns of %lld", (long long)first.nanos,
        (long long)second.nanos, (long long)waited);
  CHECK_EQ(sums_of("block", "waits_to_write").contentions, (int64_t)1);
}

/* Every way of waiting, at least 20 ms each. */
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
#define WAIT (20 * MILLISECOND)

NOINLINE static void times_out_in_mutex(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
}
NOINLINE static void times_out_in_clock(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(pthread_mutex_clocklock(&mutex, CLOCK_REALTIME, &until), ETIMEDOUT);
}
NOINLINE static void times_out_reading(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(pthread_rwlock_timedrdlock(&rwlock, &until), ETIMEDOUT);
}
NOINLINE static void times_out_writing(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(pthread_rwlock_timedwrlock(&rwlock, &until), ETIMEDOUT);
}
NOINLINE static void times_out_in_clock_reading(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(pthread_rwlock_clockrdlock(&rwlock, CLOCK_REALTIME, &until), ETIMEDOUT);
}
NOINLINE static void times_out_in_clock_writing(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(pthread_rwlock_clockwrlock(&rwlock, CLOCK_REALTIME, &until), ETIMEDOUT);
}
static pthread_mutex_t other = PTHREAD_MUTEX_INITIALIZER;
NOINLINE static void times_out_in_condition(void) {
  struct timespec until = in_real_time(WAIT);
  pthread_mutex_lock(&other);
  CHECK_EQ(pthread_cond_timedwait(&condition, &other, &until), ETIMEDOUT);
  pthread_mutex_unlock(&other);
}
NOINLINE static void times_out_in_clock_condition(void) {
  struct timespec until = in_real_time(WAIT);
  pthread_mutex_lock(&other);
  CHECK_EQ(pthread_cond_clockwait(&condition, &other, CLOCK_REALTIME, &until), ETIMEDOUT);
  pthread_mutex_unlock(&other);
}
NOINLINE static void times_out_in_semaphore(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(sem_timedwait(&semaphore, &until), -1);
  CHECK_EQ(errno, ETIMEDOUT);
}
NOINLINE static void times_out_in_clock_semaphore(void) {
  struct timespec until = in_real_time(WAIT);
  CHECK_EQ(sem_clockwait(&semaphore, CLOCK_REALTIME, &until), -1);
  CHECK_EQ(errno, ETIMEDOUT);
}

static void *hold_all(void *arg) {
  pthread_mutex_lock(&mutex);
  pthread_rwlock_wrlock(&rwlock);
  sem_post(arg);
  sem_wait((sem_t *)arg + 1);
  pthread_rwlock_unlock(&rwlock);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

TEST(every_way_of_waiting_is_seen) {
  NEEDS_LOCKS
  static sem_t words[2];
  static const struct {
    void (*run)(void);
    const char *name;
  } ways[] = {
      {times_out_in_mutex, "times_out_in_mutex"},
      {times_out_in_clock, "times_out_in_clock+"},
      {times_out_reading, "times_out_reading"},
      {times_out_writing, "times_out_writing"},
      {times_out_in_clock_reading, "times_out_in_clock_reading"},
      {times_out_in_clock_writing, "times_out_in_clock_writing"},
      {times_out_in_condition, "times_out_in_condition"},
      {times_out_in_clock_condition, "times_out_in_clock_condition"},
      {times_out_in_semaphore, "times_out_in_semaphore"},
      {times_out_in_clock_semaphore, "times_out_in_clock_semaphore"},
  };
  pthread_t thread;
  sem_init(&words[0], 0, 0);
  sem_init(&words[1], 0, 0);
  sem_init(&semaphore, 0, 0);
  pthread_create(&thread, NULL, hold_all, words);
  sem_wait(&words[0]);
  set_rate(1);
  int64_t before = now();
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    ways[i].run();
  }
  int64_t all = now() - before;
  set_rate(0);
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    struct sums sums = sums_of("block", ways[i].name);
    /* The end was fixed before the wait began. */
    CHECK(sums.contentions == 1 && sums.nanos > WAIT / 2 && sums.nanos <= all, "%s: %lld waits of %lld ns",
          ways[i].name, (long long)sums.contentions, (long long)sums.nanos);
  }
  sem_post(&words[1]);
  pthread_join(thread, NULL);
}

/* A word passed to and fro: each wait's length is measured, and the estimates are compared with the sums. */
enum { TURNS = 3000 };
static sem_t there, back;

static void *answer(void *arg) {
  for (int i = 0; i < TURNS; i++) {
    while (sem_wait(&there) != 0) {
    }
    sem_post(&back);
  }
  return arg;
}

TEST(waits_shorter_than_the_rate_are_seen_in_proportion) {
  NEEDS_LOCKS
  const double rate = 1e5;
  pthread_t thread;
  sem_init(&there, 0, 0);
  sem_init(&back, 0, 0);
  CHECK_EQ(pthread_create(&thread, NULL, answer, NULL), 0);
  set_rate((int64_t)rate);
  double sum = 0, variance = 0;
  for (int i = 0; i < TURNS; i++) {
    sem_post(&there);
    int64_t before = now();
    errno = 77;
    sem_wait(&back);
    CHECK_EQ(errno, 77);
    double length = (double)(now() - before);
    sum += length;
    variance += length < rate ? length * (rate - length) : 0;
  }
  set_rate(0);
  pthread_join(thread, NULL);
  struct sums found = sums_of("block", "waits_shorter_than_the_rate");
  double sigma = sqrt(variance);
  test_note("%.2f ms in all, estimated %.2f: %+.1f sigma; %lld waits of at most %d", sum / 1e6,
            (double)found.nanos / 1e6, ((double)found.nanos - sum) / sigma, (long long)found.contentions,
            TURNS);
  /* What passes between the two clocks of a turn is not in the profile: 1 microsecond at most. */
  CHECK((double)found.nanos < sum + 4 * sigma && (double)found.nanos > sum - 4 * sigma - TURNS * 1e3,
        "%lld ns instead of %.0f", (long long)found.nanos, sum);
}

/* Counts of 1 in 4: binomial. */
TEST(a_fraction_is_scaled_up) {
  NEEDS_LOCKS
  enum { COUNT = 240, FRACTION = 4 };
  set_fraction(FRACTION);
  for (int i = 0; i < COUNT; i++) {
    holds_the_lock(3 * MILLISECOND); /* much the same each time: few long ones would make sigma large */
  }
  CHECK_EQ(set_fraction(-1), FRACTION);
  set_fraction(0);
  struct sums found = sums_of("mutex", "holds_the_lock");
  double sigma = sqrt((double)COUNT * (FRACTION - 1));
  test_note("%lld of %d contentions: %+.1f sigma", (long long)found.contentions, COUNT,
            ((double)found.contentions - COUNT) / sigma);
  CHECK(found.contentions % FRACTION == 0, "%lld", (long long)found.contentions);
  CHECK(fabs((double)found.contentions - COUNT) < 4 * sigma, "%lld of %d", (long long)found.contentions,
        COUNT);
  sigma = sqrt(caused_squared * (FRACTION - 1));
  test_note("%.2f of %.2f ms: %+.1f sigma", (double)found.nanos / 1e6, (double)caused / 1e6,
            ((double)found.nanos - (double)caused) / sigma);
  CHECK(fabs((double)found.nanos - (double)caused) < 4 * sigma, "%lld of %lld ns", (long long)found.nanos,
        (long long)caused);
}

TEST(what_nobody_waits_for_is_not_in_it) {
  NEEDS_LOCKS
  sem_init(&semaphore, 0, 100);
  set_fraction(1);
  set_rate(1);
  for (int i = 0; i < 100; i++) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    sem_wait(&semaphore);
    free(malloc(1000));
  }
  CHECK_EQ(sums_of("mutex", "").rows, 0);
  CHECK_EQ(sums_of("block", "").rows, 0);
}

/* Answers are libc's. */
static void *die_with_lock(void *arg) {
  pthread_mutex_lock(arg);
  return NULL;
}

TEST(errors_are_passed_on) {
  NEEDS_LOCKS
  pthread_mutexattr_t attributes;
  pthread_mutex_t checked, robust, recursive;
  pthread_t thread;
  set_fraction(1);
  set_rate(1);
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&checked, &attributes);
  CHECK_EQ(pthread_mutex_unlock(&checked), EPERM);
  CHECK_EQ(pthread_mutex_lock(&checked), 0);
  CHECK_EQ(pthread_mutex_lock(&checked), EDEADLK);
  CHECK_EQ(pthread_mutex_unlock(&checked), 0);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&recursive, &attributes);
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(pthread_mutex_lock(&recursive), 0);
  }
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(pthread_mutex_unlock(&recursive), 0);
  }
  CHECK_EQ(pthread_mutex_unlock(&recursive), EPERM);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_NORMAL);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &attributes);
  pthread_create(&thread, NULL, die_with_lock, &robust);
  pthread_join(thread, NULL);
  CHECK_EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
  CHECK_EQ(pthread_mutex_consistent(&robust), 0);
  CHECK_EQ(pthread_mutex_unlock(&robust), 0);
  CHECK_EQ(pthread_rwlock_wrlock(&rwlock), 0);
  CHECK_EQ(pthread_rwlock_wrlock(&rwlock), EDEADLK);
  CHECK_EQ(pthread_rwlock_rdlock(&rwlock), EDEADLK);
  CHECK_EQ(pthread_rwlock_unlock(&rwlock), 0);
  sem_init(&semaphore, 0, 1);
  errno = 77;
  CHECK_EQ(sem_wait(&semaphore), 0);
  CHECK_EQ(errno, 77);
}

static int cleaned; /* atomic */

static void clean(void *arg) {
  pthread_mutex_unlock(arg);
  __atomic_fetch_add(&cleaned, 1, __ATOMIC_RELAXED);
}

static void *wait_to_be_cancelled(void *arg) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(clean, &mutex);
  __atomic_store_n(&waiter, gettid(), __ATOMIC_RELEASE);
  for (;;) {
    pthread_cond_wait(&condition, &mutex);
  }
  pthread_cleanup_pop(0);
  return arg;
}

TEST(a_wait_can_be_cancelled) {
  NEEDS_LOCKS
  set_fraction(1);
  set_rate(1);
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    void *result;
    waiter = 0;
    CHECK_EQ(pthread_create(&thread, NULL, wait_to_be_cancelled, NULL), 0);
    wait_until_it_waits(&waiter);
    CHECK_EQ(pthread_cancel(thread), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED, "thread %d was not cancelled", i);
  }
  CHECK_EQ(cleaned, 20);
  CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
}

static void *cancel_oneself(void *arg) {
  pthread_cancel(pthread_self());
  sem_wait(arg);
  return NULL;
}

TEST(a_semaphore_is_a_cancellation_point_even_if_it_is_free) {
  NEEDS_LOCKS
  pthread_t thread;
  void *result;
  set_rate(1);
  sem_init(&semaphore, 0, 1);
  pthread_create(&thread, NULL, cancel_oneself, &semaphore);
  pthread_join(thread, &result);
  CHECK(result == PTHREAD_CANCELED, "the thread was not cancelled");
}

static bool is_said;

static void *wait_for_word(void *arg) {
  pthread_mutex_lock(&mutex);
  __atomic_store_n(&waiter, gettid(), __ATOMIC_RELEASE);
  while (!is_said) {
    pthread_cond_wait(&condition, &mutex);
  }
  pthread_mutex_unlock(&mutex);
  return arg;
}

TEST(a_condition_is_signalled) {
  NEEDS_LOCKS
  pthread_t thread;
  set_rate(1);
  CHECK_EQ(pthread_create(&thread, NULL, wait_for_word, NULL), 0);
  wait_until_it_waits(&waiter);
  pthread_mutex_lock(&mutex);
  is_said = true;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  pthread_join(thread, NULL);
  CHECK_EQ(sums_of("block", "wait_for_word").contentions, (int64_t)1);
}

TEST(what_a_parents_thread_waits_is_not_charged_to_a_child) {
  NEEDS_LOCKS
  pthread_t thread;
  set_fraction(1);
  pthread_mutex_lock(&mutex);
  CHECK_EQ(pthread_create(&thread, NULL, wait_for_mutex, NULL), 0);
  wait_until_it_waits(&waiter);
  pid_t pid = fork();
  if (pid == 0) {
    pthread_mutex_unlock(&mutex);
    _exit(sums_of("mutex", "").rows == 0 ? 0 : 1);
  }
  CHECK_CHILD(pid);
  pthread_mutex_unlock(&mutex);
  pthread_join(thread, NULL);
}

/* Everything at once: the counters that the locks protect must come out right. */
enum { LOCKS = 5, STRESS_THREADS = 6, ROUNDS = 20000 };
static pthread_mutex_t locks[LOCKS];
static long counters[LOCKS];
static int is_over; /* atomic */

static void *use_locks(void *arg) {
  uint64_t random = 20261121 + (uintptr_t)arg;
  for (int i = 0; i < ROUNDS; i++) {
    unsigned which = test_random(&random) % LOCKS;
    pthread_mutex_lock(&locks[which]);
    long value = counters[which];
    if (i % 64 == 0) {
      sched_yield();
    }
    counters[which] = value + 1;
    pthread_mutex_unlock(&locks[which]);
  }
  return NULL;
}

static void *switch_on_and_off(void *arg) {
  int fd = open("/dev/null", O_WRONLY);
  for (int i = 0; !__atomic_load_n(&is_over, __ATOMIC_ACQUIRE); i++) {
    set_fraction(i % 3);
    set_rate(i % 2 * 1000);
    CHECK_EQ(hp_profile(i % 2 == 0 ? "mutex" : "block", fd, i / 2 % 2), 0);
  }
  return arg;
}

TEST_WITHIN(120, locks_work_while_they_are_watched_and_forked) {
  NEEDS_LOCKS
  pthread_t threads[STRESS_THREADS], switcher;
  for (int i = 0; i < LOCKS; i++) {
    pthread_mutex_init(&locks[i], NULL);
  }
  sums_of("mutex", ""); /* loads the encoders: see thread_profiles.c */
  set_fraction(1);
  for (intptr_t i = 0; i < STRESS_THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, use_locks, (void *)i), 0);
  }
  CHECK_EQ(pthread_create(&switcher, NULL, switch_on_and_off, NULL), 0);
  for (int i = 0; i < 30; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
      set_fraction(1);
      for (int k = 0; k < 100; k++) {
        pthread_mutex_lock(&own);
        pthread_mutex_unlock(&own);
      }
      mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
      holds_the_lock(0);
      _exit(sums_of("mutex", "holds_the_lock").contentions == 1 ? 0 : 1);
    }
    CHECK_CHILD(pid);
  }
  for (int i = 0; i < STRESS_THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  pthread_join(switcher, NULL);
  long sum = 0;
  for (int i = 0; i < LOCKS; i++) {
    sum += counters[i];
  }
  CHECK_EQ(sum, (long)STRESS_THREADS * ROUNDS);
}

static void set_without_locks(void *arg) {
  (void)arg;
  if (set_fraction(5) != 0 || set_fraction(-1) != 0) {
    _exit(1);
  }
  set_rate(1);
}

TEST(without_the_library_a_line_says_so) {
  char text[512];
  if (has_locks()) {
    test_skip("libhalloc-locks.so is loaded");
  }
  CHECK_EQ(test_capture(set_without_locks, NULL, text, sizeof text), 0);
  CHECK_STRING(
      text,
      "halloc: hp_set_mutex_profile_fraction: 5: expected libhalloc-locks.so of this version to be loaded "
      "(LD_PRELOAD, -lhalloc-locks); no waits are recorded\n");
  CHECK_EQ(sums_of("mutex", "").rows, 0);
}
