/* SPDX-License-Identifier: MIT */
/*
 * The state is changed by whoever begins and ends a profile. A handler announces itself before it looks at
 * the state, and the end waits until no handler is announced; so none can be at work on a tally that goes.
 */
#include "sampler/cpu.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/process.h"
#include "base/random.h"
#include "labels/context.h"
#include "labels/set.h"
#include "sampler/tally.h"
#include "sampler/unwind.h"

#define TALLY_BYTES ((size_t)32 * 1024 * 1024)
/* Handlers take microseconds; a thread that lost the processor in one gets it back within this many
 * pauses. */
#define PAUSES 2000
#define PAUSE_NANOS 1000000

/* Walks at a time, one for each bit of a word. */
#define SLOTS 64

enum state { OFF, CHANGING, RUNNING, ENDED };

static struct {
  int state;              /* atomic */
  int handlers;           /* atomic; at work */
  uint32_t number;        /* of the profile; what its timers carry. Written while CHANGING */
  struct ha_tally *tally; /* written while CHANGING */
  uintptr_t *slots;       /* SLOTS places for frames; set once */
  uint64_t slots_taken;   /* atomic; bit per place */
  uint64_t started;       /* as number */
  uint64_t duration;      /* as number */
  bool was_ignored;       /* SIGPROF before us; as number */
  uint64_t samples;       /* atomic, as the next two */
  uint64_t unwalked;
  uint64_t untimed;
  struct ha_random random; /* HA_RANK_THREADS while RUNNING */
} cpu;

static void add_sample(const uintptr_t *frames, uint32_t frame_count, int64_t ticks) {
  ha_add_relaxed(&cpu.samples, (uint64_t)ticks);
  ha_tally_add(cpu.tally, frames, frame_count, ha_labels_current(), ticks, ticks * HA_CPU_PERIOD_NANOS);
}

/* A place for the frames of a walk; -1: all are in use. */
static int take_slot(void) {
  uint64_t taken = ha_load_relaxed(&cpu.slots_taken);
  while (taken != UINT64_MAX) {
    int slot = __builtin_ctzll(~taken);
    if (ha_cas_weak_acq_rel(&cpu.slots_taken, &taken, taken | UINT64_C(1) << slot)) {
      return slot;
    }
  }
  return -1;
}

static void take_sample(const void *context, int64_t ticks) {
  const uintptr_t unknown = HA_FRAME_UNKNOWN;
  uint32_t depth = (uint32_t)ha_config.stack_depth;
  int slot = take_slot();
  uintptr_t *frames = cpu.slots + (size_t)depth * (unsigned)(slot >= 0 ? slot : 0);
  uint32_t frame_count = slot >= 0 ? ha_unwind_interrupted(context, frames, depth) : 0;
  if (frame_count != 0) {
    add_sample(frames, frame_count, ticks);
  } else {
    ha_add_relaxed(&cpu.unwalked, (uint64_t)ticks);
    add_sample(&unknown, 1, ticks);
  }
  if (slot >= 0) {
    __atomic_fetch_and(&cpu.slots_taken, ~(UINT64_C(1) << slot), __ATOMIC_RELEASE);
  }
}

/* Little of the stack is used: it may be a small one for signals. */
static void on_tick(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  if (!ha_thread_has_storage()) {
    return;
  }
  int saved = errno;
  __atomic_fetch_add(&cpu.handlers, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&cpu.state, __ATOMIC_SEQ_CST) == RUNNING && info->si_code == SI_TIMER &&
      (uint32_t)info->si_value.sival_int == cpu.number) {
    take_sample(context, 1 + (int64_t)info->si_overrun);
  }
  __atomic_fetch_sub(&cpu.handlers, 1, __ATOMIC_SEQ_CST);
  errno = saved;
}

static bool is_ours(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_tick;
}

static int install_handler(bool *ret_is_taken) {
  struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
  struct sigaction before;
  sigfillset(&action.sa_mask);
  if (sigaction(SIGPROF, NULL, &before) != 0) {
    return -errno;
  }
  bool is_default = (before.sa_flags & SA_SIGINFO) == 0 && before.sa_handler == SIG_DFL;
  cpu.was_ignored = (before.sa_flags & SA_SIGINFO) == 0 && before.sa_handler == SIG_IGN;
  *ret_is_taken = !is_default && !cpu.was_ignored && !is_ours(&before);
  if (*ret_is_taken) {
    return -EBUSY;
  }
  return is_ours(&before) || sigaction(SIGPROF, &action, NULL) == 0 ? 0 : -errno;
}

static void ignore_again(void) {
  struct sigaction now;
  if (cpu.was_ignored && sigaction(SIGPROF, NULL, &now) == 0 && is_ours(&now)) {
    signal(SIGPROF, SIG_IGN);
  }
}

/* The clock of a thread's processor time, as the kernel numbers clocks (CPUCLOCK_PERTHREAD,
 * CPUCLOCK_SCHED). */
static clockid_t clock_of(pid_t thread) {
  const clockid_t per_thread_scheduled = 6;
  const int kind_bits = 3;
  return (clockid_t)((~(uint32_t)thread << kind_bits) | (uint32_t)per_thread_scheduled);
}

static struct timespec random_start(void) {
  return (struct timespec){0, 1 + (long)(ha_random_next(&cpu.random) % HA_CPU_PERIOD_NANOS)};
}

void ha_cpu_timer_arm(struct ha_thread *thread, bool is_new) {
  ha_lock_assert_held(HA_RANK_THREADS);
  if (ha_load_acquire(&cpu.state) != RUNNING || thread->timer != HA_NO_TIMER) {
    return;
  }
  int saved = errno;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
  event._sigev_un._tid = thread->id;
  event.sigev_value.sival_int = (int)cpu.number;
  struct itimerspec times = {.it_interval = {0, HA_CPU_PERIOD_NANOS}, .it_value = random_start()};
  int timer = HA_NO_TIMER;
  if (syscall(SYS_timer_create, clock_of(thread->id), &event, &timer) != 0) {
    ha_add_relaxed(&cpu.untimed, errno != EINVAL); /* else the thread has just ended */
  } else if (syscall(SYS_timer_settime, timer, is_new ? TIMER_ABSTIME : 0, &times, NULL) != 0) {
    syscall(SYS_timer_delete, timer);
  } else {
    thread->timer = timer;
  }
  errno = saved;
}

void ha_cpu_timer_disarm(struct ha_thread *thread) {
  ha_lock_assert_held(HA_RANK_THREADS);
  if (thread->timer != HA_NO_TIMER) {
    int saved = errno;
    syscall(SYS_timer_delete, thread->timer);
    thread->timer = HA_NO_TIMER;
    errno = saved;
  }
}

/* The kernel shows a nanosecond for a timer that has expired and was not noticed yet. */
void ha_cpu_timer_settle(const struct ha_thread *thread) {
  ha_lock_assert_held(HA_RANK_THREADS);
  int saved = errno;
  struct itimerspec left;
  if (ha_load_acquire(&cpu.state) == RUNNING && thread->timer != HA_NO_TIMER && thread->entry != 0 &&
      syscall(SYS_timer_gettime, thread->timer, &left) == 0 && left.it_value.tv_sec == 0 &&
      left.it_value.tv_nsec == 1) {
    uintptr_t frame = thread->entry + 1;
    add_sample(&frame, 1, 1);
  }
  errno = saved;
}

static void arm(struct ha_thread *thread, void *arg) {
  (void)arg;
  ha_cpu_timer_arm(thread, false);
}

static void disarm(struct ha_thread *thread, void *arg) {
  (void)arg;
  ha_cpu_timer_disarm(thread);
}

void ha_cpu_find_threads(void) {
  ha_thread_visit(arm, NULL);
}

static int prepare(bool *ret_is_taken) {
  int error = install_handler(ret_is_taken);
  if (error != 0) {
    return error;
  }
  if (cpu.slots == NULL) {
    cpu.slots =
        ha_os_reserve(ha_align_up(SLOTS * (size_t)ha_config.stack_depth * sizeof(uintptr_t), HA_OS_PAGE));
  }
  cpu.tally = ha_tally_new(TALLY_BYTES);
  if (cpu.tally == NULL || cpu.slots == NULL) {
    ha_tally_free(cpu.tally);
    return -ENOMEM;
  }
  ha_random_seed(&cpu.random, ha_random_fresh_seed());
  cpu.number++;
  cpu.started = ha_clock_monotonic();
  ha_store_relaxed(&cpu.samples, 0);
  ha_store_relaxed(&cpu.unwalked, 0);
  ha_store_relaxed(&cpu.untimed, 0);
  return 0;
}

int ha_cpu_start(bool *ret_is_taken) {
  int off = OFF;
  *ret_is_taken = false;
  if (!ha_cas_strong_acq_rel(&cpu.state, &off, CHANGING)) {
    return -EBUSY;
  }
  int error = prepare(ret_is_taken);
  /* Before the threads are listed: one that begins now arms its own timer. */
  ha_store_release(&cpu.state, error == 0 ? RUNNING : OFF);
  if (error == 0) {
    ha_cpu_find_threads();
  }
  return error;
}

static void pause_briefly(void) {
  struct timespec time = {0, PAUSE_NANOS};
  syscall(SYS_nanosleep, &time, NULL);
}

/* False if a handler got stuck: its thread was stopped, perhaps. */
static bool wait_for_handlers(void) {
  for (int i = 0; i < PAUSES && __atomic_load_n(&cpu.handlers, __ATOMIC_SEQ_CST) != 0; i++) {
    pause_briefly();
  }
  return __atomic_load_n(&cpu.handlers, __ATOMIC_SEQ_CST) == 0;
}

void ha_cpu_stop(void) {
  __atomic_store_n(&cpu.state, CHANGING, __ATOMIC_SEQ_CST);
  cpu.duration = ha_clock_monotonic() - cpu.started;
  ha_thread_visit(disarm, NULL);
  ignore_again();
  wait_for_handlers();
  ha_store_release(&cpu.state, ENDED); /* where it stays until the profile is discarded */
}

void ha_cpu_profile(struct ha_profile *profile) {
  *profile = (struct ha_profile){
      .name = "cpu",
      .shows_allocators = true,
      .types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
      .type_count = 2,
      .period_type = {"cpu", "nanoseconds"},
      .period = HA_CPU_PERIOD_NANOS,
      .duration_nanos = (int64_t)cpu.duration,
      .label = ha_label_set_item,
      .visit = ha_tally_visit,
      .source = cpu.tally,
  };
}

void ha_cpu_discard(void) {
  /* Rather lose address space than take it from under a handler that got stuck. */
  if (wait_for_handlers()) {
    ha_tally_free(cpu.tally);
    cpu.tally = NULL;
  }
  ha_store_release(&cpu.state, OFF);
}

struct ha_cpu_counts ha_cpu_counts(void) {
  return (struct ha_cpu_counts){
      .samples = ha_load_relaxed(&cpu.samples),
      .unwalked = ha_load_relaxed(&cpu.unwalked),
      .overflowed = cpu.tally != NULL ? (uint64_t)ha_tally_overflow(cpu.tally) : 0,
      .untimed = ha_load_relaxed(&cpu.untimed),
  };
}

void ha_cpu_after_fork_in_child(void) {
  ha_store_relaxed(&cpu.handlers, 0);
  ha_store_relaxed(&cpu.slots_taken, 0);
  if (ha_load_relaxed(&cpu.state) != OFF) {
    ha_tally_free(cpu.tally);
    cpu.tally = NULL;
    ha_store_relaxed(&cpu.state, OFF);
  }
}
