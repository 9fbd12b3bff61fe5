/* SPDX-License-Identifier: MIT */
/*
 * One detached thread that waits on a futex. What it does is decided by release.h and limit.h; here is only when.
 */
#include "alloc/background.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/arena.h"
#include "alloc/heap_pool.h"
#include "alloc/limit.h"
#include "alloc/release.h"
#include "alloc/size_class.h"
#include "alloc/thread.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/os.h"
#include "halloc.h"
#include "sampler/sample.h"
#include "sampler/unwind.h"

/* Functions that the application registered run on it, hence more than the loop needs. */
#define STACK_SIZE ((size_t)256 * 1024)
#define STAT_TEXT_MAX 512
#define TICK_NANOS (HA_SECOND / 10)
#define IDLE_TICK_NANOS HA_SECOND
#define WORTH_A_TICK ((uint64_t)1024 * 1024)
#define CHUNK_BYTES ((size_t)4 * 1024 * 1024)
#define CHUNK_PAGES ((size_t)64)

enum state { NONE, STARTING, RUNNING, REFUSED };

static int state;                           /* atomic */
static uint32_t wakes;                      /* atomic; the futex */
static bool has_started_up;                 /* constructors have run: threads can be created */
static uint64_t own_blocks[HA_CLASS_COUNT]; /* who starts the thread */
static pid_t thread_id;                     /* atomic: of the background thread, 0 before it runs */
static pid_t process; /* a vforked child must not create threads in its parent's memory */

bool ha_background_is_current(void) {
  return gettid() == ha_load_relaxed(&thread_id);
}

bool ha_background_runs(void) {
  return ha_load_relaxed(&state) == RUNNING;
}

void ha_background_wake(void) {
  ha_add_relaxed(&wakes, 1);
  syscall(SYS_futex, &wakes, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void sleep_for(uint64_t nanos, uint32_t seen) {
  struct timespec timeout = {(time_t)(nanos / HA_SECOND), (long)(nanos % HA_SECOND)};
  syscall(SYS_futex, &wakes, FUTEX_WAIT_PRIVATE, seen, &timeout, NULL, 0);
}

/* A little of what is to be released. Whether there may be more. */
static bool release_some(uint64_t now) {
  size_t surplus = ha_release_surplus(now);
  size_t over = ha_limit_surplus();
  size_t wanted = surplus > over ? surplus : over;
  if (wanted >= HA_OS_PAGE && ha_release(wanted < CHUNK_BYTES ? wanted : CHUNK_BYTES) > 0) {
    return true;
  }
  return ha_release_in_pages(false, CHUNK_PAGES) == CHUNK_PAGES;
}

/* The thread's processor time: one hundredth of all processors' on average over a minute, and a tenth at a time, so that
 * an idle process gets its memory back within seconds. Only the thread itself. */
#define AVERAGE_DIVISOR 100
#define BURST_DIVISOR 10
#define AVERAGE_OVER (60 * HA_SECOND)

static struct {
  uint64_t processors;
  uint64_t saved; /* nanoseconds that may be spent at once */
  uint64_t saved_at;
} budget;

static void open_budget(void) {
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  budget.processors = online < 1 ? 1 : (uint64_t)online;
  budget.saved = AVERAGE_OVER / AVERAGE_DIVISOR * budget.processors;
  budget.saved_at = ha_clock_monotonic();
}

/* How long to sleep after that much work. */
static uint64_t pause_after(uint64_t now, uint64_t spent) {
  uint64_t most = AVERAGE_OVER / AVERAGE_DIVISOR * budget.processors;
  budget.saved += (now - budget.saved_at) / AVERAGE_DIVISOR * budget.processors;
  budget.saved = budget.saved < most ? budget.saved : most;
  budget.saved_at = now;
  bool is_saved = budget.saved >= spent;
  budget.saved -= is_saved ? spent : budget.saved;
  return spent * (is_saved ? BURST_DIVISOR : AVERAGE_DIVISOR) / budget.processors;
}

/* One round; how long to sleep then. */
static uint64_t work(void) {
  uint64_t now = ha_clock_monotonic();
  ha_limit_tick(now);
  uint64_t started = ha_clock_thread();
  if (release_some(now)) {
    return pause_after(now, ha_clock_thread() - started);
  }
  bool is_busy = ha_limit_is_set() || ha_release_idle_bytes() >= WORTH_A_TICK;
  return is_busy ? TICK_NANOS : IDLE_TICK_NANOS;
}

/* Whether the program's threads have all ended, the first one included, which stays as a zombie. */
static bool is_alone(void) {
  struct stat tasks;
  char path[sizeof "/proc/self/task//stat" + 3 * sizeof(pid_t)];
  char text[STAT_TEXT_MAX];
  const nlink_t directories = 2;
  if (ha_heap_thread_count() > (ha_heap_of_thread() != NULL) || stat("/proc/self/task", &tasks) != 0 ||
      tasks.st_nlink != directories + 2) {
    return false;
  }
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

static void *run(void *arg) {
  (void)arg;
  pthread_setname_np(pthread_self(), "halloc");
  ha_store_relaxed(&thread_id, gettid());
  hp_set_labels((hp_labels_t){0}); /* not those of the thread whose allocation started us */
  open_budget();
  for (;;) {
    uint32_t seen = ha_load_acquire(&wakes);
    sleep_for(work(), seen);
    if (is_alone()) {
      exit(EXIT_SUCCESS); /* as libc does when the last thread ends, which is us now */
    }
  }
  return NULL;
}

static bool create(void) {
  sigset_t all, before;
  pthread_attr_t attributes;
  pthread_t thread;
  sigfillset(&all);
  if (pthread_attr_init(&attributes) != 0) {
    return false;
  }
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK_SIZE);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool done = pthread_create(&thread, &attributes, run, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return done;
}

/* Creates the thread. What libc allocates for it in here, this thread does, and nobody else is meant by the difference. */
static bool create_and_count(void) {
  struct ha_heap *heap = ha_thread_heap_or_new();
  uint64_t before[HA_CLASS_COUNT] = {0};
  for (unsigned size_class = 0; heap != NULL && size_class < HA_CLASS_COUNT; size_class++) {
    before[size_class] = ha_heap_mallocs(heap, size_class);
  }
  bool was_paused = ha_sample_pause(true);
  bool done = create();
  ha_sample_pause(was_paused);
  for (unsigned size_class = 0; done && heap != NULL && size_class < HA_CLASS_COUNT; size_class++) {
    ha_owner_add(&own_blocks[size_class], ha_heap_mallocs(heap, size_class) - before[size_class]);
  }
  return done;
}

uint64_t ha_background_own_blocks(unsigned size_class) {
  return ha_load_relaxed(&own_blocks[size_class]);
}

bool ha_background_is_starting(void) {
  return ha_load_acquire(&state) == STARTING;
}

void ha_background_start(void) {
  int none = NONE;
  if (!ha_load_acquire(&has_started_up) || ha_config.background == HA_BACKGROUND_OFF || getpid() != process ||
      !ha_cas_strong_acq_rel(&state, &none, STARTING)) {
    return;
  }
  int saved = errno;
  /* Refused once (a limit on threads, seccomp), it is not tried again and again. */
  ha_store_release(&state, create_and_count() ? RUNNING : REFUSED);
  errno = saved;
}

/* Whether an address is in the same object as a function. */
static bool is_beside(uintptr_t address, const void *function) {
  struct dl_find_object object, other;
  return _dl_find_object((void *)address, &object) == 0 &&
         _dl_find_object((void *)(uintptr_t)function, &other) == 0 &&
         object.dlfo_map_start == other.dlfo_map_start;
}

/* Exported by ld.so; of what libc declares of it, most is in libc. */
extern void *__tls_get_addr(void *index);

/* Who called halloc. */
static bool is_called_by_libc(void) {
  uintptr_t caller;
  return ha_unwind(&caller, 1) == 0 || is_beside(caller, (const void *)(uintptr_t)&__tls_get_addr) ||
         is_beside(caller, (const void *)(uintptr_t)&getpid);
}

void ha_background_start_in_malloc(void) {
  if (ha_load_relaxed(&state) == NONE && !is_called_by_libc()) {
    ha_background_start();
  }
}

bool ha_background_may_call_out(void) {
  return ha_background_is_current() || !is_called_by_libc();
}

void ha_background_after_fork_in_child(void) {
  process = getpid();
  ha_store_relaxed(&thread_id, 0);
  ha_store_relaxed(&state, NONE);
}

__attribute__((constructor)) static void start_up(void) {
  ha_initialize();
  process = getpid();
  ha_store_release(&has_started_up, true);
  ha_limit_start_up();
  if (ha_config.background == HA_BACKGROUND_ON || ha_limit_is_set()) {
    ha_background_start();
  }
}
