/* SPDX-License-Identifier: MIT */
/*
 * One pthread key carries the heap; its destructor re-arms itself for some rounds, so that the destructors of others still
 * find the heap.
 */
#include "alloc/thread.h"

#include <limits.h>
#include <pthread.h>

#include "alloc/heap_pool.h"
#include "base/atomic.h"
#include "base/config.h"
#include "sampler/interval.h"
#include "sampler/trail.h"

/* One before the last that POSIX promises: a heap that is opened by another destructor in the first round, behind ours,
 * is seen by ours in one round less. */
#define LAST_ROUND (PTHREAD_DESTRUCTOR_ITERATIONS - 1)

enum init_state { INIT_NONE, INIT_RUNNING, INIT_DONE };

static int init_state; /* atomic */
static pthread_key_t key;
static bool has_key; /* written before INIT_DONE */

/* The main thread's descriptor is not on its stack. It is the thread that runs this library's constructor, or that
 * allocates before. */
static const void *main_thread;

/* How many destructor rounds this thread has seen; above the last one its heap is gone for good. */
static HA_TLS unsigned char exit_rounds;

static void on_thread_exit(void *value) {
  struct ha_heap *heap = value;
  if (++exit_rounds < LAST_ROUND) {
    pthread_setspecific(key, heap);
    return;
  }
  /* First: pages of others that closing finds in the queue must not be adopted by the heap being closed. */
  ha_thread_heap = &ha_empty_heap;
  ha_store_relaxed(&heap->thread, NULL);
  ha_heap_close(heap);
  ha_heap_retire(heap);
  ha_trail_close();
}

/* Runs at the process's first allocation, which comes before there is a second thread. */
HA_COLD void ha_initialize(void) {
  int none = INIT_NONE;
  if (ha_load_acquire(&init_state) == INIT_DONE || !ha_cas_strong_acq_rel(&init_state, &none, INIT_RUNNING)) {
    return; /* done, or this is an allocation from inside initialisation: go on with what there is */
  }
  main_thread = __builtin_thread_pointer();
  ha_config_load();
  ha_rate_set(ha_config.profile_rate);
  has_key = pthread_key_create(&key, on_thread_exit) == 0;
  ha_store_release(&init_state, INIT_DONE);
}

static const void *this_thread(void) {
  const void *thread = __builtin_thread_pointer();
  return thread != main_thread ? thread : NULL;
}

static HA_COLD struct ha_heap *open_heap(void) {
  ha_initialize();
  if (ha_thread_heap != &ha_empty_heap) {
    return ha_thread_heap; /* an allocation from inside initialisation was first */
  }
  if (exit_rounds >= LAST_ROUND) {
    return NULL;
  }
  struct ha_heap *heap = ha_heap_open();
  if (heap == NULL) {
    return NULL;
  }
  /* Before the key is set: that may allocate, for keys beyond the first 32. */
  ha_thread_heap = heap;
  ha_store_relaxed(&heap->thread, this_thread());
  if (has_key) {
    pthread_setspecific(key, heap);
  }
  return heap;
}

struct ha_heap *ha_thread_heap_or_new(void) {
  return ha_likely(ha_thread_heap != &ha_empty_heap) ? ha_thread_heap : open_heap();
}

struct ha_heap *ha_heap_of_thread(void) {
  return ha_thread_heap != &ha_empty_heap ? ha_thread_heap : NULL;
}
