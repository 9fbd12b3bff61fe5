/* SPDX-License-Identifier: MIT */
/*
 * The descriptor given at the start is duplicated, and looked at again before it is written: minutes may pass
 * between the two, in which a program may close all descriptors and use the numbers again.
 */
#include "serve/cpu_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/log.h"
#include "halloc.h"
#include "sampler/cpu.h"
#include "serve/kinds.h"
#include "serve/pprof_library.h"

/* Out of the way of the numbers a program expects to get. */
#define KEPT_FD_MIN 100
#define PAUSE_NANOS (HA_SECOND / 10)
#define PAUSES_PER_LOOK 10 /* for threads that begin unnoticed */

static int open_cpu(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  (void)name;
  ha_cpu_profile(profile);
  struct ha_cpu_counts counts = ha_cpu_counts();
  ha_kind_comment(profile, memory, "halloc: version=" HA_VERSION " pid=%d", (int)getpid());
  ha_kind_comment(profile, memory, "halloc: samples=%lu lost unknown=%lu overflow=%lu untimed_threads=%lu",
                  counts.samples, counts.unwalked, counts.overflowed, counts.untimed);
  return 0;
}

static const struct ha_kind cpu_kind = {.name = "cpu", .open = open_cpu};

int ha_cpu_profile_start(void) {
  bool is_taken;
  /* Now, while it can be found, and outside the profile. */
  if (ha_pprof_library() == NULL) {
    return -ELIBACC;
  }
  int error = ha_cpu_start(&is_taken);
  if (is_taken) {
    ha_log("CPU profile: the program handles SIGPROF itself: expected no handler of it; no profile is taken");
  }
  return error;
}

void ha_cpu_profile_abandon(void) {
  ha_cpu_stop();
  ha_cpu_discard();
}

int ha_cpu_profile_stop_encode(struct ha_profile_file *ret_file) {
  ha_cpu_stop();
  int error = ha_profile_encode_kind(&cpu_kind, 0, ret_file);
  ha_cpu_discard();
  return error;
}

static void sleep_until(uint64_t end, uint64_t now) {
  uint64_t nanos = end - now < PAUSE_NANOS ? end - now : PAUSE_NANOS;
  struct timespec time = {0, (long)nanos};
  syscall(SYS_nanosleep, &time, NULL);
}

int ha_cpu_profile_collect(uint64_t nanos, bool (*goes_on)(void *arg), void *arg,
                           struct ha_profile_file *ret_file) {
  int error = ha_cpu_profile_start();
  if (error != 0) {
    return error;
  }
  uint64_t now = ha_clock_monotonic();
  uint64_t end = now + nanos;
  for (unsigned pauses = 1; now < end; pauses++) {
    sleep_until(end, now);
    if (goes_on != NULL && !goes_on(arg)) {
      ha_cpu_profile_abandon();
      return -ECANCELED;
    }
    if (pauses % PAUSES_PER_LOOK == 0) {
      ha_cpu_find_threads();
    }
    now = ha_clock_monotonic();
  }
  return ha_cpu_profile_stop_encode(ret_file);
}

enum { NONE, CHANGING, STARTED };

/* What hp_start_cpu_profile began. */
static struct {
  int state; /* atomic; the rest belongs to who made it CHANGING */
  int fd;
  pid_t process; /* a forked child has no profile of its parent's */
  struct stat file;
} started;

static int keep_fd(int fd) {
  started.fd = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
  if (started.fd < 0) {
    return -errno;
  }
  if (fstat(started.fd, &started.file) != 0) {
    int error = -errno;
    close(started.fd);
    return error;
  }
  return 0;
}

static bool is_same_file(void) {
  struct stat now;
  return fstat(started.fd, &now) == 0 && now.st_dev == started.file.st_dev &&
         now.st_ino == started.file.st_ino;
}

static int start(int fd) {
  int error = keep_fd(fd);
  if (error != 0) {
    return error;
  }
  started.process = getpid();
  error = ha_cpu_profile_start();
  if (error != 0) {
    close(started.fd);
  }
  return error;
}

static bool is_of_parent(void) {
  return ha_load_acquire(&started.state) == STARTED && started.process != getpid();
}

static void forget_parents(void) {
  int is_started = STARTED;
  if (is_of_parent() && ha_cas_strong_acq_rel(&started.state, &is_started, CHANGING)) {
    if (is_same_file()) {
      close(started.fd);
    }
    ha_store_release(&started.state, NONE);
  }
}

HA_EXPORT int hp_start_cpu_profile(int fd) {
  int none = NONE;
  int saved = errno;
  forget_parents();
  if (!ha_cas_strong_acq_rel(&started.state, &none, CHANGING)) {
    return -EBUSY;
  }
  int error = start(fd);
  ha_store_release(&started.state, error == 0 ? STARTED : NONE);
  errno = saved;
  return error;
}

static int stop(void) {
  struct ha_profile_file file;
  int error = ha_cpu_profile_stop_encode(&file);
  if (error == 0) {
    error = is_same_file() ? ha_profile_write_file(&file, started.fd) : -EBADF;
    ha_profile_discard(&file);
  }
  if (is_same_file()) {
    close(started.fd);
  }
  return error;
}

HA_EXPORT int hp_stop_cpu_profile(void) {
  int is_started = STARTED;
  int saved = errno;
  int cancel_state;
  forget_parents();
  if (!ha_cas_strong_acq_rel(&started.state, &is_started, CHANGING)) {
    return -EINVAL;
  }
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  int error = stop();
  pthread_setcancelstate(cancel_state, NULL);
  ha_store_release(&started.state, NONE);
  errno = saved;
  return error;
}
