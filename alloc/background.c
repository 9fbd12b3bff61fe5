/* SPDX-License-Identifier: MIT */
/*
 * One detached thread that waits on a futex. What it does is decided by release.h and limit.h; here is only when.
 */
#include "alloc/background.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/arena.h"
#include "alloc/limit.h"
#include "alloc/own_thread.h"
#include "alloc/release.h"
#include "alloc/thread.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/os.h"
#include "sampler/unwind.h"

#define TICK_NANOS (HA_SECOND / 10)
#define IDLE_TICK_NANOS HA_SECOND
#define WORTH_A_TICK ((uint64_t)1024 * 1024)
#define CHUNK_BYTES ((size_t)4 * 1024 * 1024)
#define CHUNK_PAGES ((size_t)64)

enum state { NONE, STARTING, RUNNING, REFUSED };

static int state;           /* atomic */
static uint32_t wakes;      /* atomic; the futex */
static bool has_started_up; /* constructors have run: threads can be created */
static pid_t thread_id;     /* atomic: of the background thread, 0 before it runs */
static pid_t process;       /* a vforked child must not create threads in its parent's memory */

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

static void run(void) {
  ha_store_relaxed(&thread_id, gettid());
  open_budget();
  for (;;) {
    uint32_t seen = ha_load_acquire(&wakes);
    sleep_for(work(), seen);
    ha_own_thread_exit_if_alone();
  }
}

void ha_background_start(void) {
  int none = NONE;
  if (!ha_load_acquire(&has_started_up) || ha_config.background == HA_BACKGROUND_OFF || getpid() != process ||
      !ha_cas_strong_acq_rel(&state, &none, STARTING)) {
    return;
  }
  int saved = errno;
  /* Refused once (a limit on threads, seccomp), it is not tried again and again. */
  ha_store_release(&state, ha_own_thread_create(run, "halloc") ? RUNNING : REFUSED);
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
  bool is_served = ha_config.http.kind != HA_ADDRESS_NONE;
  if (ha_config.background == HA_BACKGROUND_ON || ha_limit_is_set() || is_served) {
    ha_background_start();
  }
}
