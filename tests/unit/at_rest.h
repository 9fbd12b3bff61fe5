/* SPDX-License-Identifier: MIT */
/*
 * What tests of pages that change hands share: the state before and after, in which only what the test does itself
 * shows, and blocks filled with words made of their address.
 */
#ifndef HA_TESTS_UNIT_AT_REST_H
#define HA_TESTS_UNIT_AT_REST_H

#include <pthread.h>

#include "alloc/abandoned.h"
#include "alloc/heap.h"
#include "alloc/release.h"
#include "alloc/stats.h"
#include "base/config.h"
#include "tests/test.h"

static struct ha_heap *main_heap; /* of the test's first thread */

__attribute__((unused)) static void fill(void *block, size_t size) {
  for (size_t i = 0; i < size / sizeof(uint64_t); i++) {
    ((uint64_t *)block)[i] = (uintptr_t)block * 31 + i;
  }
}

__attribute__((unused)) static void check_filled(void *block, size_t size) {
  for (size_t i = 0; i < size / sizeof(uint64_t); i++) {
    CHECK(((uint64_t *)block)[i] == (uintptr_t)block * 31 + i,
          "block %p of %zu in use has changed at word %zu", block, size, i);
  }
}

#define THREADS 6

/* libc keeps some memory for the stacks of ended threads. */
__attribute__((unused)) static void *wait_for_all(void *barrier) {
  pthread_barrier_wait(barrier);
  return NULL;
}

__attribute__((unused)) static void run_threads_once(void) {
  pthread_t threads[THREADS + 1];
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  for (int i = 0; i <= THREADS; i++) {
    pthread_create(&threads[i], NULL, wait_for_all, &barrier);
  }
  for (int i = 0; i <= THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

/* What this thread keeps goes. */
__attribute__((unused)) static struct hp_memstats at_rest(void) {
  struct hp_memstats now;
  ha_outbox_flush(&ha_heap_of_thread()->outbox);
  ha_heap_trim(ha_heap_of_thread());
  ha_stats_read(&now);
  return now;
}

/* Nothing is sampled and no other thread releases, so each test sees only what it does itself. */
__attribute__((unused)) static struct hp_memstats begin(void) {
  ha_config.background = HA_BACKGROUND_OFF;
  hp_set_mem_profile_rate(0);
  main_heap = ha_heap_of_thread();
  run_threads_once();
  ha_release_poke(); /* the next one is a quarter of a second away */
  return at_rest();
}

__attribute__((unused)) static void check_nothing_left(const struct hp_memstats *before) {
  struct hp_memstats after = at_rest();
  CHECK_EQ(after.HeapAlloc, before->HeapAlloc);
  CHECK(after.HeapInuse <= before->HeapInuse, "%lu bytes stay in use", after.HeapInuse - before->HeapInuse);
  CHECK_EQ(ha_abandoned_waiting_bytes(), (uint64_t)0);
}

#endif
