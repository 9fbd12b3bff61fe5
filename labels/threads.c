/* SPDX-License-Identifier: MIT */
/*
 * A new thread begins with the label set of the thread that creates it, as a goroutine does.
 *
 * pthread_create and C11's thrd_create are replaced by functions that give the set along. A thread without
 * labels creates others as it would without us: its call is passed on as it is. Else the thread begins in a
 * function of ours, which leaves no frame on its stack. Threads that libc makes for itself (timers, name
 * lookup) have no labels.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <threads.h>

#include "base/atomic.h"
#include "base/meta.h"
#include "labels/context.h"

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
  uint32_t labels;
};

static HA_COLD void find_in_libc(void) {
  ha_store_relaxed(&libc_pthread_create, (pthread_create_fn *)dlsym(RTLD_NEXT, "pthread_create"));
  ha_store_relaxed(&libc_thrd_create, (thrd_create_fn *)dlsym(RTLD_NEXT, "thrd_create"));
}

/* NULL without memory: the thread then has no labels. */
static struct start *new_start(void *arg) {
  int saved = errno;
  struct start *start = ha_meta_alloc(sizeof *start, HA_META_PROFILE);
  errno = saved;
  if (start != NULL) {
    start->arg = arg;
    start->labels = ha_labels_id;
  }
  return start;
}

/* In the new thread. */
static struct start take(struct start *start) {
  struct start copy = *start;
  ha_meta_free(start, sizeof *start, HA_META_PROFILE);
  ha_labels_id = copy.labels;
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
  struct start *inherit = ha_labels_id != HA_LABEL_SET_EMPTY ? new_start(arg) : NULL;
  if (inherit == NULL) {
    return create(thread, attributes, start, arg);
  }
  inherit->run.pthread = start;
  int error = create(thread, attributes, run_pthread, inherit);
  if (error != 0) {
    ha_meta_free(inherit, sizeof *inherit, HA_META_PROFILE);
  }
  return error;
}

HA_EXPORT int thrd_create(thrd_t *thread, thrd_start_t start, void *arg) {
  if (ha_unlikely(ha_load_relaxed(&libc_pthread_create) == NULL)) {
    find_in_libc();
  }
  thrd_create_fn *create = ha_load_relaxed(&libc_thrd_create);
  struct start *inherit = ha_labels_id != HA_LABEL_SET_EMPTY ? new_start(arg) : NULL;
  if (inherit == NULL) {
    return create(thread, start, arg);
  }
  inherit->run.c11 = start;
  int result = create(thread, run_c11, inherit);
  if (result != thrd_success) {
    ha_meta_free(inherit, sizeof *inherit, HA_META_PROFILE);
  }
  return result;
}
