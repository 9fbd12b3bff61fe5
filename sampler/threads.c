/* SPDX-License-Identifier: MIT */
/*
 * What a new thread is given: the label set of the thread that creates it, as a goroutine is, and a record of
 * where that was.
 *
 * pthread_create and C11's thrd_create are replaced by functions that walk the caller's stack and have the
 * thread begin in a function of ours, which leaves no frame on its stack. Without memory the call is passed
 * on as it is. Threads that libc makes for itself (timers, name lookup) have no labels and no record. Costs
 * about 2 microseconds for each thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <threads.h>

#include "base/atomic.h"
#include "base/config.h"
#include "base/meta.h"
#include "labels/context.h"
#include "sampler/thread_list.h"
#include "sampler/unwind.h"

typedef int pthread_create_fn(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                              void *arg);
typedef int thrd_create_fn(thrd_t *thread, thrd_start_t start, void *arg);

/* Set at first use, by any number of threads to the same value. */
static pthread_create_fn *libc_pthread_create; /* atomic */
static thrd_create_fn *libc_thrd_create;       /* atomic */

/* What a new thread is to do; the thread itself frees it. */
struct start {
  union {
    void *(*pthread)(void *arg);
    thrd_start_t c11;
  } run;
  void *arg;
  const struct ha_stack *creator;
  uint32_t labels;
};

static HA_COLD void find_in_libc(void) {
  ha_store_relaxed(&libc_pthread_create, (pthread_create_fn *)dlsym(RTLD_NEXT, "pthread_create"));
  ha_store_relaxed(&libc_thrd_create, (thrd_create_fn *)dlsym(RTLD_NEXT, "thrd_create"));
}

/* Not inlined: what it takes of the stack is free again when the thread is created. */
HA_NOINLINE static const struct ha_stack *caller_stack(void) {
  uint32_t depth = (uint32_t)ha_config.stack_depth;
  uintptr_t *frames = __builtin_alloca(depth * sizeof *frames);
  uint32_t frame_count = ha_unwind(frames, depth);
  return frame_count != 0 ? ha_stack_intern(frames, frame_count) : NULL;
}

/* NULL without memory. */
static struct start *new_start(void *arg) {
  int saved = errno;
  struct start *start = ha_meta_alloc(sizeof *start, HA_META_PROFILE);
  if (start != NULL) {
    start->arg = arg;
    start->creator = caller_stack();
    start->labels = ha_labels_id;
  }
  errno = saved;
  return start;
}

static void free_start(struct start *start) {
  ha_meta_free(start, sizeof *start, HA_META_PROFILE);
}

/* In the new thread. */
static struct start take(struct start *start) {
  struct start copy = *start;
  free_start(start);
  ha_labels_id = copy.labels;
  ha_thread_begin(copy.creator, (uintptr_t)copy.run.pthread);
  return copy;
}

static void *run_pthread(void *arg) {
  struct start start = take(arg);
  return start.run.pthread(start.arg);
}

static int run_c11(void *arg) {
  struct start start = take(arg);
  return start.run.c11(start.arg);
}

HA_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                             void *arg) {
  if (ha_unlikely(ha_load_relaxed(&libc_pthread_create) == NULL)) {
    find_in_libc();
  }
  pthread_create_fn *create = ha_load_relaxed(&libc_pthread_create);
  struct start *first = new_start(arg);
  if (first == NULL) {
    return create(thread, attributes, start, arg);
  }
  first->run.pthread = start;
  int error = create(thread, attributes, run_pthread, first);
  if (error != 0) {
    free_start(first);
  }
  return error;
}

HA_EXPORT int thrd_create(thrd_t *thread, thrd_start_t start, void *arg) {
  if (ha_unlikely(ha_load_relaxed(&libc_pthread_create) == NULL)) {
    find_in_libc();
  }
  thrd_create_fn *create = ha_load_relaxed(&libc_thrd_create);
  struct start *first = new_start(arg);
  if (first == NULL) {
    return create(thread, start, arg);
  }
  first->run.c11 = start;
  int result = create(thread, run_c11, first);
  if (result != thrd_success) {
    free_start(first);
  }
  return result;
}
