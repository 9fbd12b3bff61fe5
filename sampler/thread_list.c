/* SPDX-License-Identifier: MIT */
/*
 * A hash table of records by thread id. /proc is read with bare system calls: opendir allocates.
 */
#include "sampler/thread_list.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/meta.h"
#include "sampler/cpu.h"
#include "sampler/trace.h"

#define CHAINS 1024
#define DIRECTORY_BYTES 2048
#define DECIMAL 10

static struct ha_thread *chains[CHAINS]; /* HA_RANK_THREADS */
static uint32_t pass;                    /* HA_RANK_THREADS */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* of a thread's record; written once */
static bool has_key;

/* Where the record of a thread is linked, or would be. */
static struct ha_thread **place_locked(pid_t id) {
  struct ha_thread **place = &chains[(unsigned)id % CHAINS];
  while (*place != NULL && (*place)->id != id) {
    place = &(*place)->next;
  }
  return place;
}

static struct ha_thread *obtain_locked(pid_t id) {
  struct ha_thread **place = place_locked(id);
  if (*place == NULL) {
    struct ha_thread *thread = ha_meta_alloc(sizeof *thread, HA_META_PROFILE);
    if (thread != NULL) {
      thread->id = id;
      thread->timer = HA_NO_TIMER;
      *place = thread;
    }
  }
  return *place;
}

static void remove_locked(struct ha_thread **place) {
  struct ha_thread *thread = *place;
  *place = thread->next;
  ha_cpu_timer_disarm(thread);
  ha_meta_free(thread, sizeof *thread, HA_META_PROFILE);
}

/* No system call: some threads give up the right to make any but a few. */
static void on_thread_exit(void *id) {
  ha_trace(HA_TRACE_THREAD_END, NULL, 0, 0);
  ha_lock(HA_RANK_THREADS);
  struct ha_thread **place = place_locked((pid_t)(intptr_t)id);
  /* In a child, whose threads have other ids than in the parent, it may be another's. */
  if (*place != NULL && pthread_equal((*place)->self, pthread_self())) {
    ha_cpu_timer_settle(*place);
    remove_locked(place);
  }
  ha_unlock(HA_RANK_THREADS);
}

static void make_key(void) {
  has_key = pthread_key_create(&key, on_thread_exit) == 0;
}

void ha_thread_begin(const struct ha_stack *creator, uintptr_t entry) {
  pid_t id = gettid();
  ha_trace(HA_TRACE_THREAD_BEGIN, creator, 0, 0);
  ha_lock(HA_RANK_THREADS);
  struct ha_thread *thread = obtain_locked(id);
  if (thread != NULL) {
    ha_cpu_timer_disarm(thread); /* of an ended thread that had the same id */
    thread->self = pthread_self();
    thread->creator = creator;
    thread->entry = entry;
    thread->pass = pass;
    ha_cpu_timer_arm(thread, true);
  }
  ha_unlock(HA_RANK_THREADS);
  pthread_once(&once, make_key);
  if (has_key) {
    pthread_setspecific(key, (void *)(intptr_t)id);
  }
}

const struct ha_stack *ha_thread_creator(pid_t id) {
  ha_lock(HA_RANK_THREADS);
  const struct ha_thread *thread = *place_locked(id);
  const struct ha_stack *creator = thread != NULL ? thread->creator : NULL;
  ha_unlock(HA_RANK_THREADS);
  return creator;
}

/* As the kernel writes it; glibc declares it only for its own readdir. */
struct directory_entry {
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

static pid_t number(const char *text) {
  pid_t value = 0;
  for (; *text >= '0' && *text <= '9'; text++) {
    value = value * DECIMAL + (*text - '0');
  }
  return value;
}

bool ha_thread_ids(void (*fn)(pid_t id, void *arg), void *arg) {
  _Alignas(struct directory_entry) char entries[DIRECTORY_BYTES];
  int saved = errno;
  long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  long length = 0;
  while (fd >= 0 && (length = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
    const struct directory_entry *entry;
    for (long at = 0; at < length; at += entry->size) {
      entry = (const struct directory_entry *)(entries + at);
      if (number(entry->name) != 0) {
        fn(number(entry->name), arg);
      }
    }
  }
  if (fd >= 0) {
    syscall(SYS_close, fd);
  }
  errno = saved;
  return fd >= 0 && length == 0;
}

static void note_locked(pid_t id, void *arg) {
  (void)arg;
  struct ha_thread *thread = obtain_locked(id);
  if (thread != NULL) {
    thread->pass = pass;
  }
}

/* /proc may leave a thread out when others end meanwhile. */
static bool is_alive(pid_t id) {
  int saved = errno;
  bool is_gone = syscall(SYS_tgkill, getpid(), id, 0) != 0 && errno == ESRCH;
  errno = saved;
  return !is_gone;
}

void ha_thread_visit(void (*fn)(struct ha_thread *thread, void *arg), void *arg) {
  ha_lock(HA_RANK_THREADS);
  pass++;
  ha_thread_ids(note_locked, NULL);
  for (unsigned i = 0; i < CHAINS; i++) {
    struct ha_thread **place = &chains[i];
    while (*place != NULL) {
      if ((*place)->pass != pass && !is_alive((*place)->id)) {
        remove_locked(place);
      } else {
        fn(*place, arg);
        place = &(*place)->next;
      }
    }
  }
  ha_unlock(HA_RANK_THREADS);
}

void ha_thread_after_fork_in_child(void) {
  ha_lock(HA_RANK_THREADS);
  for (unsigned i = 0; i < CHAINS; i++) {
    while (chains[i] != NULL) {
      chains[i]->timer = HA_NO_TIMER; /* timers are not inherited */
      remove_locked(&chains[i]);
    }
  }
  ha_unlock(HA_RANK_THREADS);
}
