/* SPDX-License-Identifier: MIT */
/*
 * Creation is bracketed by two readings of the creating thread's counts. "Alone" is read from /proc: the first thread
 * stays as a zombie after it has ended, beside ours.
 */
#include "alloc/own_thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/heap_pool.h"
#include "alloc/size_class.h"
#include "alloc/thread.h"
#include "base/atomic.h"
#include "base/log.h"
#include "halloc.h"
#include "sampler/sample.h"

/* Functions that the application registered run on the background thread, hence more than our loops need. */
#define STACK_SIZE ((size_t)256 * 1024)
#define STAT_TEXT_MAX 512
#define NAME_MAX_SIZE 16 /* the kernel's limit, with the NUL */

static uint64_t own_blocks[HA_CLASS_COUNT]; /* atomic */
static uint32_t starting;                   /* atomic: threads being created */
static uint32_t running;                    /* atomic: threads created and not ended */
static bool is_exiting;                     /* atomic */

struct start {
  void (*run)(void);
  char name[NAME_MAX_SIZE];
};

/* One thread of each kind: what it is to run is handed over in static memory. */
#define KINDS_MAX 2
static struct start starts[KINDS_MAX];

static void *run_start(void *arg) {
  const struct start *start = arg;
  pthread_setname_np(pthread_self(), start->name);
  hp_set_labels((hp_labels_t){0}); /* not those of the thread whose allocation started us */
  start->run();
  return NULL;
}

/* The place of a kind of thread; NULL if there are more than KINDS_MAX. */
static struct start *start_of(void (*run)(void), const char *name) {
  for (unsigned i = 0; i < KINDS_MAX; i++) {
    void (*none)(void) = NULL;
    if (ha_cas_strong_acq_rel(&starts[i].run, &none, run) || none == run) {
      ha_format(starts[i].name, sizeof starts[i].name, "%s", name);
      return &starts[i];
    }
  }
  return NULL;
}

static bool create_with(struct start *start, size_t stack_size) {
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) != 0) {
    return false;
  }
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (stack_size != 0) {
    pthread_attr_setstacksize(&attributes, stack_size);
  }
  bool done = pthread_create(&thread, &attributes, run_start, start) == 0;
  pthread_attr_destroy(&attributes);
  return done;
}

/* The program's thread-local storage is part of a stack and may need more than ours has. */
static bool create(struct start *start) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool done = create_with(start, STACK_SIZE) || create_with(start, 0);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return done;
}

static void count_mallocs(const struct ha_heap *heap, uint64_t counts[HA_CLASS_COUNT]) {
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    counts[size_class] = heap != NULL ? ha_heap_mallocs(heap, size_class) : 0;
  }
}

/* What libc allocates for the thread in here, this thread does, and nobody else is meant by the difference. */
bool ha_own_thread_create(void (*run)(void), const char *name) {
  struct start *start = start_of(run, name);
  if (start == NULL) {
    return false;
  }
  struct ha_heap *heap = ha_thread_heap_or_new();
  uint64_t before[HA_CLASS_COUNT], after[HA_CLASS_COUNT];
  ha_add_relaxed(&starting, 1);
  ha_add_relaxed(&running, 1);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  count_mallocs(heap, before);
  bool was_paused = ha_sample_pause(true);
  bool done = create(start);
  ha_sample_pause(was_paused);
  count_mallocs(heap, after);
  for (unsigned size_class = 0; done && size_class < HA_CLASS_COUNT; size_class++) {
    ha_add_relaxed(&own_blocks[size_class], after[size_class] - before[size_class]);
  }
  if (!done) {
    ha_add_relaxed(&running, -1);
  }
  __atomic_fetch_add(&starting, -1, __ATOMIC_RELEASE);
  return done;
}

uint64_t ha_own_thread_blocks(unsigned size_class) {
  return ha_load_relaxed(&own_blocks[size_class]);
}

bool ha_own_thread_is_starting(void) {
  return ha_load_acquire(&starting) != 0;
}

/* Whether the first thread has ended. */
static bool is_first_thread_zombie(void) {
  char path[sizeof "/proc/self/task//stat" + 3 * sizeof(pid_t)];
  char text[STAT_TEXT_MAX];
  ha_format(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
  if (fd >= 0) {
    close(fd);
  }
  text[length > 0 ? length : 0] = '\0';
  const char *end_of_name = strrchr(text, ')');
  return end_of_name != NULL && strncmp(end_of_name, ") Z", 3) == 0;
}

static bool is_alone(void) {
  struct stat tasks;
  const nlink_t directories = 2;
  uint32_t own = ha_load_relaxed(&running);
  return ha_heap_thread_count() <= own && stat("/proc/self/task", &tasks) == 0 &&
         tasks.st_nlink == directories + 1 + own && is_first_thread_zombie();
}

void ha_own_thread_exit_if_alone(void) {
  if (is_alone() && !ha_exchange_acq_rel(&is_exiting, true)) {
    exit(EXIT_SUCCESS); /* as libc does when the last thread ends */
  }
}

void ha_own_thread_after_fork_in_child(void) {
  ha_store_relaxed(&starting, 0);
  ha_store_relaxed(&running, 0);
}
