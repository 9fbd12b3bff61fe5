/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a deadlock that needs two threads at the wrong moment, and a forked child
 * that inherits a lock nobody will ever release. The lock code is compiled into this program with its checks
 * on, whatever the library is built with.
 */
#include <pthread.h>
#include <unistd.h>

#include "base/lock.h"
#include "tests/test.h"

_Static_assert(HA_CHECKS, "this program has its own copy of lock.c, with checks");

#define ROUNDS 20000
#define THREADS 4

static void take(void *ranks) {
  for (const char *rank = ranks; *rank != '\0'; rank++) {
    ha_lock((enum ha_rank)(*rank - '0'));
  }
}

TEST(ranks_in_order_are_fine) {
  ha_lock(HA_RANK_PROFILE);
  ha_lock(HA_RANK_ARENA);
  ha_lock(HA_RANK_META);
  ha_unlock(HA_RANK_META);
  ha_unlock(HA_RANK_ARENA);
  ha_lock(HA_RANK_HEAPS);
  ha_unlock(HA_RANK_HEAPS);
  ha_unlock(HA_RANK_PROFILE);
}

TEST(a_lower_rank_after_a_higher_one_dies) {
  CHECK_EQ((int)HA_RANK_META, 6);
  CHECK_DIES(take, "43", "halloc: lock order: rank 3 wanted while holding mask 10\n");
  CHECK_DIES(take, "0240", "halloc: lock order: rank 0 wanted while holding mask 15\n");
}

TEST(taking_a_lock_twice_dies_instead_of_hanging) {
  CHECK_DIES(take, "22", "halloc: lock order: rank 2 wanted while holding mask 4\n");
}

static void assert_held(void *rank) {
  ha_lock_assert_held((enum ha_rank)(long)rank);
}

TEST(asserting_a_lock_that_is_not_held_dies) {
  CHECK_DIES(assert_held, (void *)(long)HA_RANK_ARENA, "halloc: lock of rank 5 must be held here\n");
  ha_lock(HA_RANK_ARENA);
  assert_held((void *)(long)HA_RANK_ARENA);
}

static long shared;

static void *add(void *arg) {
  for (int i = 0; i < ROUNDS; i++) {
    ha_lock(HA_RANK_HEAPS);
    shared++;
    ha_unlock(HA_RANK_HEAPS);
  }
  return arg;
}

TEST(a_lock_excludes) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, add, NULL);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  CHECK_EQ(shared, (long)THREADS * ROUNDS);
}

/* A child forked while other threads use the locks can take all of them. */
TEST(a_child_starts_with_all_locks_free) {
  pthread_t threads[THREADS];
  pthread_atfork(ha_locks_before_fork, ha_locks_after_fork_in_parent, ha_locks_after_fork_in_child);
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, add, NULL);
  }
  for (int i = 0; i < 100; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      alarm(10);
      take("01234");
      _exit(0);
    }
    CHECK_CHILD(pid);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  take("01234");
}

/* A lock kept elsewhere was taken by a thread that a child does not have, also if no handler has seen the child. */
TEST(a_child_has_another_number) {
  uint32_t number = ha_locks_process();
  ha_locks_notice_forks();
  CHECK_EQ(ha_locks_process_now(), number);
  pid_t pid = _Fork();
  if (pid == 0) {
    _exit(ha_locks_process_now() == number || ha_locks_process_now() != ha_locks_process());
  }
  CHECK_CHILD(pid);
  pthread_atfork(ha_locks_before_fork, ha_locks_after_fork_in_parent, ha_locks_after_fork_in_child);
  pid = fork();
  if (pid == 0) {
    _exit(ha_locks_process() == number);
  }
  CHECK_CHILD(pid);
  CHECK_EQ(ha_locks_process_now(), number);
}
