/* SPDX-License-Identifier: MIT */
/*
 * libhalloc-locks.so: functions of pthreads that may wait, each in front of libc's.
 *
 * While nothing is watched each is a test and a jump. While something is, a lock is tried first; only if that
 * fails is the time taken, so an uncontended lock costs a test more. What halloc's own code does is passed on
 * as it is.
 *
 * Who waits is noted in a table by the lock's address. Who unlocks looks there, and takes upon itself what
 * has been waited since the last one did; so the whole time is divided among those that held the lock
 * meanwhile, as in Go. The table is fixed and has no lock: a waiter that finds no room in its line of it is
 * not charged to anybody.
 *
 * Functions that libc has under a second name are reached by that one. The others are looked up at the start,
 * before there are threads: later, ld.so's lock may be in the way.
 */
#include "sampler/lock_hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"

#define CALLER ((uintptr_t)__builtin_return_address(0))

/* ---- libc's functions ---- */

#define ALIAS(type, function, arguments)                                                                     \
  extern type libc_##function arguments;                                                                     \
  __asm__(".symver libc_" #function ", __pthread_" #function "@GLIBC_2.2.5")

ALIAS(int, mutex_lock, (pthread_mutex_t *));
ALIAS(int, mutex_unlock, (pthread_mutex_t *));
ALIAS(int, rwlock_rdlock, (pthread_rwlock_t *));
ALIAS(int, rwlock_wrlock, (pthread_rwlock_t *));
ALIAS(int, rwlock_unlock, (pthread_rwlock_t *));

typedef int mutex_timed_fn(pthread_mutex_t *, const struct timespec *);
typedef int mutex_clock_fn(pthread_mutex_t *, clockid_t, const struct timespec *);
typedef int rwlock_timed_fn(pthread_rwlock_t *, const struct timespec *);
typedef int rwlock_clock_fn(pthread_rwlock_t *, clockid_t, const struct timespec *);
typedef int cond_fn(pthread_cond_t *, pthread_mutex_t *);
typedef int cond_timed_fn(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int cond_clock_fn(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
typedef int sem_fn(sem_t *);
typedef int sem_timed_fn(sem_t *, const struct timespec *);
typedef int sem_clock_fn(sem_t *, clockid_t, const struct timespec *);

/* Written at the start. */
static struct {
  mutex_timed_fn *mutex_timedlock;
  mutex_clock_fn *mutex_clocklock;
  rwlock_timed_fn *timedrdlock, *timedwrlock;
  rwlock_clock_fn *clockrdlock, *clockwrlock;
  cond_fn *cond_wait;
  cond_timed_fn *cond_timedwait;
  cond_clock_fn *cond_clockwait;
  sem_fn *sem_wait;
  sem_timed_fn *sem_timedwait;
  sem_clock_fn *sem_clockwait;
  bool is_done;
} libc;

/* Of conditions there are two kinds; the old one is found without a version. */
static void *find(const char *name, const char *version) {
  void *function = dlvsym(RTLD_NEXT, name, version);
  return function != NULL ? function : dlsym(RTLD_NEXT, name);
}

static HA_COLD void find_all(void) {
  *(void **)&libc.mutex_timedlock = find("pthread_mutex_timedlock", "GLIBC_2.34");
  *(void **)&libc.mutex_clocklock = find("pthread_mutex_clocklock", "GLIBC_2.34");
  *(void **)&libc.timedrdlock = find("pthread_rwlock_timedrdlock", "GLIBC_2.34");
  *(void **)&libc.timedwrlock = find("pthread_rwlock_timedwrlock", "GLIBC_2.34");
  *(void **)&libc.clockrdlock = find("pthread_rwlock_clockrdlock", "GLIBC_2.34");
  *(void **)&libc.clockwrlock = find("pthread_rwlock_clockwrlock", "GLIBC_2.34");
  *(void **)&libc.cond_wait = find("pthread_cond_wait", "GLIBC_2.3.2");
  *(void **)&libc.cond_timedwait = find("pthread_cond_timedwait", "GLIBC_2.3.2");
  *(void **)&libc.cond_clockwait = find("pthread_cond_clockwait", "GLIBC_2.34");
  *(void **)&libc.sem_wait = find("sem_wait", "GLIBC_2.34");
  *(void **)&libc.sem_timedwait = find("sem_timedwait", "GLIBC_2.34");
  *(void **)&libc.sem_clockwait = find("sem_clockwait", "GLIBC_2.34");
  ha_store_release(&libc.is_done, true);
}

HA_INLINE void need_libc(void) {
  if (ha_unlikely(!ha_load_acquire(&libc.is_done))) {
    find_all();
  }
}

/* ---- What is watched ---- */

static struct {
  int is_on;                       /* atomic; either of the next two */
  int64_t fraction;                /* atomic */
  int64_t rate;                    /* atomic */
  const struct ha_lock_host *host; /* atomic; set before is_on */
} watched;

static HA_TLS bool is_reporting;

static void watch(const struct ha_lock_host *host, int64_t fraction, int64_t rate) {
  ha_store_relaxed(&watched.fraction, fraction);
  ha_store_relaxed(&watched.rate, rate);
  ha_store_release(&watched.host, host);
  ha_store_release(&watched.is_on, fraction != 0 || rate != 0);
}

extern const struct ha_lock_hooks ha_lock_hooks;
HA_EXPORT const struct ha_lock_hooks ha_lock_hooks = {HA_LOCK_HOOKS_VERSION, watch};

HA_INLINE bool is_watching(void) {
  return ha_unlikely(ha_load_acquire(&watched.is_on) != 0);
}

/* Not what halloc does, nor what is done while a stack is walked. */
static bool is_for(uintptr_t caller) {
  return !is_reporting && !ha_load_acquire(&watched.host)->is_own(caller);
}

static void report(enum ha_wait wait, int64_t contentions, int64_t nanos, int64_t length) {
  is_reporting = true;
  ha_load_acquire(&watched.host)->report(wait, contentions, nanos, length);
  is_reporting = false;
}

static uint64_t draw(void) {
  static uint64_t state; /* atomic */
  uint64_t z = ha_add_relaxed(&state, UINT64_C(0x9e3779b97f4a7c15)) + ha_clock_monotonic();
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* Between 0 and below 1. */
static double draw_fraction(void) {
  return (double)(draw() >> 11) * 0x1p-53;
}

/* ---- Who waits for what ---- */

#define LINE_SLOTS 8 /* addresses in a cache line */
#define LINES 256
#define NO_SLOT (-1)
#define CLAIMED ((uintptr_t)1) /* no address of a lock */

/* Lines of slots by hash of the lock. A slot belongs to who has changed its address from 0. */
static uintptr_t waited_for[LINES * LINE_SLOTS] HA_CACHE_ALIGNED; /* atomic */
static struct {
  uint64_t charged_until; /* atomic; who unlocks takes the time since */
  int64_t weight;         /* contentions that this one stands for */
  int is_counted;         /* atomic; some holder has taken the contention upon itself */
} waits[LINES * LINE_SLOTS];

static size_t line_of(const void *lock) {
  return (((uintptr_t)lock >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56) % LINES * LINE_SLOTS;
}

static int note_wait(const void *lock, uint64_t now, int64_t weight) {
  size_t first = line_of(lock);
  for (size_t i = first; i < first + LINE_SLOTS; i++) {
    uintptr_t none = 0;
    if (ha_load_relaxed(&waited_for[i]) == 0 && ha_cas_strong_acq_rel(&waited_for[i], &none, CLAIMED)) {
      ha_store_relaxed(&waits[i].charged_until, now);
      ha_store_relaxed(&waits[i].weight, weight);
      ha_store_relaxed(&waits[i].is_counted, 0);
      ha_store_release(&waited_for[i], (uintptr_t)lock);
      return (int)i;
    }
  }
  return NO_SLOT;
}

struct charge {
  int64_t contentions;
  int64_t nanos;
};

/* What the calling thread, which is about to unlock, has made others wait. */
HA_INLINE struct charge take_charge(const void *lock) {
  struct charge charge = {0, 0};
  size_t first = line_of(lock);
  for (size_t i = first; i < first + LINE_SLOTS; i++) {
    if (ha_likely(ha_load_acquire(&waited_for[i]) != (uintptr_t)lock)) {
      continue;
    }
    uint64_t now = ha_clock_monotonic();
    uint64_t before = ha_exchange_acq_rel(&waits[i].charged_until, now);
    int64_t weight = ha_load_relaxed(&waits[i].weight);
    charge.nanos += now > before ? (int64_t)(now - before) * weight : 0;
    charge.contentions += ha_exchange_acq_rel(&waits[i].is_counted, 1) == 0 ? weight : 0;
  }
  return charge;
}

static bool is_due(struct charge charge) {
  return charge.nanos != 0 || charge.contentions != 0;
}

/* One wait of the calling thread. */
struct wait {
  uint64_t start;
  int slot;
};

/* lock: what somebody else holds and will unlock; NULL for what has no holder. */
static struct wait begin_wait(const void *lock) {
  struct wait wait = {ha_clock_monotonic(), NO_SLOT};
  int64_t fraction = ha_load_relaxed(&watched.fraction);
  if (lock != NULL && fraction > 0 && (fraction == 1 || draw() % (uint64_t)fraction == 0)) {
    wait.slot = note_wait(lock, wait.start, fraction);
  }
  return wait;
}

/* A wait of at least the rate is always seen. A shorter one is with a probability of its length by the
 * rate, and then stands for as many as make up one of that length. */
static void report_wait(int64_t nanos) {
  int64_t rate = ha_load_relaxed(&watched.rate);
  if (rate <= 0) {
    return;
  }
  nanos = nanos > 0 ? nanos : 1;
  if (nanos >= rate) {
    report(HA_WAIT_SUFFERED, 1, nanos, nanos);
  } else if (draw_fraction() * (double)rate < (double)nanos) {
    report(HA_WAIT_SUFFERED, (int64_t)((double)rate / (double)nanos + draw_fraction()), rate, nanos);
  }
}

static void end_wait(struct wait wait) {
  int64_t nanos = (int64_t)(ha_clock_monotonic() - wait.start);
  if (wait.slot != NO_SLOT) {
    ha_store_release(&waited_for[wait.slot], 0);
  }
  int saved = errno;
  report_wait(nanos);
  errno = saved;
}

/* The threads that waited are not in a child. */
static void forget_waits(void) {
  memset(waited_for, 0, sizeof waited_for);
}

__attribute__((constructor)) static void start_up(void) {
  need_libc();
  pthread_atfork(NULL, NULL, forget_waits);
}

/* ---- The functions ---- */

/* A lock that is tried before it is waited for. */
#define LOCK_WATCHED(try_, lock_, caller_, wait_)                                                            \
  int result = (try_);                                                                                       \
  if (result != EBUSY) {                                                                                     \
    return result;                                                                                           \
  }                                                                                                          \
  if (!is_for(caller_)) {                                                                                    \
    return (wait_);                                                                                          \
  }                                                                                                          \
  struct wait wait = begin_wait(lock_);                                                                      \
  result = (wait_);                                                                                          \
  end_wait(wait);                                                                                            \
  return result

#define UNLOCK_WATCHED(lock_, caller_, unlock_)                                                              \
  struct charge charge = take_charge(lock_);                                                                 \
  int result = (unlock_);                                                                                    \
  if (ha_unlikely(is_due(charge)) && is_for(caller_)) {                                                      \
    report(HA_WAIT_CAUSED, charge.contentions, charge.nanos, charge.nanos);                                  \
  }                                                                                                          \
  return result

static HA_NOINLINE int lock_watched(pthread_mutex_t *mutex, uintptr_t caller) {
  LOCK_WATCHED(pthread_mutex_trylock(mutex), mutex, caller, libc_mutex_lock(mutex));
}

HA_EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex) {
  return is_watching() ? lock_watched(mutex, CALLER) : libc_mutex_lock(mutex);
}

static HA_NOINLINE int unlock_watched(pthread_mutex_t *mutex, uintptr_t caller) {
  UNLOCK_WATCHED(mutex, caller, libc_mutex_unlock(mutex));
}

HA_EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex) {
  return is_watching() ? unlock_watched(mutex, CALLER) : libc_mutex_unlock(mutex);
}

HA_EXPORT int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
  need_libc();
  if (!is_watching()) {
    return libc.mutex_timedlock(mutex, until);
  }
  LOCK_WATCHED(pthread_mutex_trylock(mutex), mutex, CALLER, libc.mutex_timedlock(mutex, until));
}

HA_EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
  need_libc();
  if (!is_watching()) {
    return libc.mutex_clocklock(mutex, clock, until);
  }
  LOCK_WATCHED(pthread_mutex_trylock(mutex), mutex, CALLER, libc.mutex_clocklock(mutex, clock, until));
}

static HA_NOINLINE int rdlock_watched(pthread_rwlock_t *lock, uintptr_t caller) {
  LOCK_WATCHED(pthread_rwlock_tryrdlock(lock), lock, caller, libc_rwlock_rdlock(lock));
}

HA_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
  return is_watching() ? rdlock_watched(lock, CALLER) : libc_rwlock_rdlock(lock);
}

static HA_NOINLINE int wrlock_watched(pthread_rwlock_t *lock, uintptr_t caller) {
  LOCK_WATCHED(pthread_rwlock_trywrlock(lock), lock, caller, libc_rwlock_wrlock(lock));
}

HA_EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
  return is_watching() ? wrlock_watched(lock, CALLER) : libc_rwlock_wrlock(lock);
}

static HA_NOINLINE int rwunlock_watched(pthread_rwlock_t *lock, uintptr_t caller) {
  UNLOCK_WATCHED(lock, caller, libc_rwlock_unlock(lock));
}

HA_EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock) {
  return is_watching() ? rwunlock_watched(lock, CALLER) : libc_rwlock_unlock(lock);
}

HA_EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *lock, const struct timespec *until) {
  need_libc();
  if (!is_watching()) {
    return libc.timedrdlock(lock, until);
  }
  LOCK_WATCHED(pthread_rwlock_tryrdlock(lock), lock, CALLER, libc.timedrdlock(lock, until));
}

HA_EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *lock, const struct timespec *until) {
  need_libc();
  if (!is_watching()) {
    return libc.timedwrlock(lock, until);
  }
  LOCK_WATCHED(pthread_rwlock_trywrlock(lock), lock, CALLER, libc.timedwrlock(lock, until));
}

HA_EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *lock, clockid_t clock,
                                         const struct timespec *until) {
  need_libc();
  if (!is_watching()) {
    return libc.clockrdlock(lock, clock, until);
  }
  LOCK_WATCHED(pthread_rwlock_tryrdlock(lock), lock, CALLER, libc.clockrdlock(lock, clock, until));
}

HA_EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *lock, clockid_t clock,
                                         const struct timespec *until) {
  need_libc();
  if (!is_watching()) {
    return libc.clockwrlock(lock, clock, until);
  }
  LOCK_WATCHED(pthread_rwlock_trywrlock(lock), lock, CALLER, libc.clockwrlock(lock, clock, until));
}

/* Waiting for a condition lets go of the mutex. */
#define WAIT_WATCHED(mutex_, wait_)                                                                          \
  struct charge charge = take_charge(mutex_);                                                                \
  if (is_due(charge)) {                                                                                      \
    report(HA_WAIT_CAUSED, charge.contentions, charge.nanos, charge.nanos);                                  \
  }                                                                                                          \
  struct wait wait = begin_wait(NULL);                                                                       \
  int result = (wait_);                                                                                      \
  end_wait(wait);                                                                                            \
  return result

HA_EXPORT int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
  need_libc();
  if (!is_watching() || !is_for(CALLER)) {
    return libc.cond_wait(condition, mutex);
  }
  WAIT_WATCHED(mutex, libc.cond_wait(condition, mutex));
}

HA_EXPORT int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                     const struct timespec *until) {
  need_libc();
  if (!is_watching() || !is_for(CALLER)) {
    return libc.cond_timedwait(condition, mutex, until);
  }
  WAIT_WATCHED(mutex, libc.cond_timedwait(condition, mutex, until));
}

HA_EXPORT int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                                     const struct timespec *until) {
  need_libc();
  if (!is_watching() || !is_for(CALLER)) {
    return libc.cond_clockwait(condition, mutex, clock, until);
  }
  WAIT_WATCHED(mutex, libc.cond_clockwait(condition, mutex, clock, until));
}

/* Whether the semaphore was had without waiting. Keeps errno. A cancellation point, as the wait is. */
static bool try_semaphore(sem_t *semaphore) {
  int saved = errno;
  pthread_testcancel();
  bool is_had = sem_trywait(semaphore) == 0;
  errno = saved;
  return is_had;
}

#define SEMAPHORE_WATCHED(semaphore_, wait_)                                                                 \
  if (try_semaphore(semaphore_)) {                                                                           \
    return 0;                                                                                                \
  }                                                                                                          \
  struct wait wait = begin_wait(NULL);                                                                       \
  int result = (wait_);                                                                                      \
  end_wait(wait);                                                                                            \
  return result

HA_EXPORT int sem_wait(sem_t *semaphore) {
  need_libc();
  if (!is_watching() || !is_for(CALLER)) {
    return libc.sem_wait(semaphore);
  }
  SEMAPHORE_WATCHED(semaphore, libc.sem_wait(semaphore));
}

HA_EXPORT int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  need_libc();
  if (!is_watching() || !is_for(CALLER)) {
    return libc.sem_timedwait(semaphore, until);
  }
  SEMAPHORE_WATCHED(semaphore, libc.sem_timedwait(semaphore, until));
}

HA_EXPORT int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
  need_libc();
  if (!is_watching() || !is_for(CALLER)) {
    return libc.sem_clockwait(semaphore, clock, until);
  }
  SEMAPHORE_WATCHED(semaphore, libc.sem_clockwait(semaphore, clock, until));
}
