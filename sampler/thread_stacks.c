/* SPDX-License-Identifier: MIT */
/*
 * A thread's place goes from WANTED to WALKING by its handler and then to DONE, or to EXPIRED by the
 * collector; each step is a compare-and-swap, so that only one of the two has the place. Handlers announce
 * themselves before they look for their place, and the places are not given back while one is announced.
 */
#include "sampler/thread_stacks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/os.h"
#include "base/process.h"
#include "labels/context.h"
#include "sampler/thread_list.h"
#include "sampler/unwind.h"

#define WAIT_NANOS HA_SECOND
#define SPARE_THREADS 64
#define STATUS_MAX 4096
#define HEXADECIMAL 16

enum answer { IDLE, WANTED, WALKING, DONE, EXPIRED };

static int is_busy; /* atomic; a collector is at work. No lock: fork shall not wait for it */
static struct ha_thread_stacks *collecting; /* atomic; NULL: nothing is wanted */
static int handlers;                        /* atomic; at work */
static uint32_t outstanding;                /* atomic; the futex: answers to wait for */

/* Sorted by id, but for the first, which is the collector's own. */
static struct ha_thread_stack *place_of(struct ha_thread_stacks *stacks, pid_t id) {
  uint32_t low = 1, high = stacks->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (stacks->items[middle].id < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < stacks->count && stacks->items[low].id == id ? &stacks->items[low] : NULL;
}

static void answer(struct ha_thread_stack *place, const void *context) {
  int wanted = WANTED;
  if (place == NULL || !ha_cas_strong_acq_rel(&place->answer, &wanted, WALKING)) {
    return;
  }
  place->label_set = ha_labels_current();
  place->frame_count = ha_unwind_interrupted(context, place->frames, (uint32_t)ha_config.stack_depth);
  ha_store_release(&place->answer, DONE);
  if (__atomic_sub_fetch(&outstanding, 1, __ATOMIC_ACQ_REL) == 0) {
    syscall(SYS_futex, &outstanding, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  }
}

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  if (!ha_thread_has_storage()) {
    return;
  }
  int saved = errno;
  __atomic_fetch_add(&handlers, 1, __ATOMIC_SEQ_CST);
  struct ha_thread_stacks *stacks = __atomic_load_n(&collecting, __ATOMIC_SEQ_CST);
  if (stacks != NULL) {
    answer(place_of(stacks, (pid_t)syscall(SYS_gettid)), context);
  }
  __atomic_fetch_sub(&handlers, 1, __ATOMIC_SEQ_CST);
  errno = saved;
}

static bool is_ours(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_signal;
}

/* By the program. */
static bool is_unused(const struct sigaction *action) {
  bool is_plain = (action->sa_flags & SA_SIGINFO) == 0;
  return is_ours(action) || (is_plain && (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN));
}

/* Puts the handler on a signal that the program does not use; 0: there is none. */
static int take_signal(struct sigaction *before) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  for (int number = SIGURG; number != 0; number = number == SIGURG ? SIGRTMAX : number - 1) {
    if (number != SIGURG && number < SIGRTMIN) {
      return 0;
    }
    if (sigaction(number, NULL, before) == 0 && is_unused(before) && sigaction(number, &action, NULL) == 0) {
      return number;
    }
  }
  return 0;
}

/* Only SIGURG is let go: a real-time signal that came late would end the process. */
static void give_signal_back(int number, const struct sigaction *before) {
  struct sigaction now;
  if (number == SIGURG && sigaction(number, NULL, &now) == 0 && is_ours(&now)) {
    sigaction(number, before, NULL);
  }
}

/* The file of a thread in /proc, as text; false if it cannot be read. */
static bool read_file(pid_t id, const char *file, char *text, size_t size) {
  char path[sizeof "/proc/self/task//syscall" + 3 * sizeof id];
  ha_format(path, sizeof path, "/proc/self/task/%d/%s", (int)id, file);
  long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  long length = fd >= 0 ? syscall(SYS_read, fd, text, size - 1) : -1;
  if (fd >= 0) {
    syscall(SYS_close, fd);
  }
  text[length > 0 ? length : 0] = '\0';
  return length > 0;
}

/* What stands behind "Key:" and a tab at the beginning of a line, or "". */
static const char *field(const char *text, const char *key) {
  size_t length = strlen(key);
  while (text != NULL && strncmp(text, key, length) != 0) {
    text = strchr(text, '\n');
    text += text != NULL;
  }
  return text != NULL ? text + length : "";
}

static uint64_t hexadecimal(const char *text) {
  uint64_t value = 0;
  for (;; text++) {
    if (*text >= '0' && *text <= '9') {
      value = value * HEXADECIMAL + (uint64_t)(*text - '0');
    } else if (*text >= 'a' && *text <= 'f') {
      value = value * HEXADECIMAL + (uint64_t)(*text - 'a') + 10;
    } else {
      return value;
    }
  }
}

static bool blocks(const char *status, int signal_number) {
  return (hexadecimal(field(status, "SigBlk:\t")) >> (signal_number - 1) & 1) != 0;
}

/* "NUMBER ARGUMENTS... SP PC", "-1 SP PC" or "running". */
static void read_syscall(struct ha_thread_stack *place, char *text, size_t size) {
  place->syscall_number = -1;
  if (!read_file(place->id, "syscall", text, size) || text[0] < '0' || text[0] > '9') {
    return;
  }
  place->syscall_number = 0;
  for (const char *at = text; *at >= '0' && *at <= '9'; at++) {
    place->syscall_number = place->syscall_number * 10 + (*at - '0');
  }
  const char *last = strrchr(text, ' ');
  place->pc = last != NULL && strncmp(last, " 0x", 3) == 0 ? hexadecimal(last + 3) : 0;
}

static bool awaits_signals(int syscall_number) {
  return syscall_number == SYS_rt_sigtimedwait || syscall_number == SYS_rt_sigsuspend ||
         syscall_number == SYS_pause;
}

static void describe(struct ha_thread_stack *place, int signal_number) {
  char text[STATUS_MAX];
  read_syscall(place, text, sizeof text);
  if (!read_file(place->id, "status", text, sizeof text)) {
    place->run_state = 'X';
    return;
  }
  const char *name = field(text, "Name:\t");
  size_t length = strcspn(name, "\n");
  length = length < sizeof place->name ? length : sizeof place->name - 1;
  memcpy(place->name, name, length);
  place->run_state = field(text, "State:\t")[0];
  if (signal_number == 0) {
    place->reach = HA_NO_SIGNAL_FREE;
  } else if (blocks(text, signal_number)) {
    place->reach = HA_BLOCKS_SIGNALS;
  } else if (awaits_signals(place->syscall_number)) {
    place->reach = HA_AWAITS_SIGNALS;
  }
}

static void count_id(pid_t id, void *arg) {
  (void)id;
  ++*(uint32_t *)arg;
}

/* Keeps the places from the second on sorted; ids mostly come in order. */
static void add_id(pid_t id, void *arg) {
  struct ha_thread_stacks *stacks = arg;
  if (id == stacks->items[0].id || stacks->count == stacks->capacity) {
    return;
  }
  uint32_t at = stacks->count++;
  while (at > 1 && stacks->items[at - 1].id > id) {
    stacks->items[at].id = stacks->items[at - 1].id;
    at--;
  }
  stacks->items[at].id = id;
}

static struct ha_thread_stacks *new_places(void) {
  uint32_t count = SPARE_THREADS;
  size_t depth = (size_t)ha_config.stack_depth;
  if (!ha_thread_ids(count_id, &count)) {
    return NULL;
  }
  size_t head = sizeof(struct ha_thread_stacks) + count * sizeof(struct ha_thread_stack);
  size_t size = ha_align_up(head + count * depth * sizeof(uintptr_t), HA_OS_PAGE);
  struct ha_thread_stacks *stacks = ha_os_reserve(size);
  if (stacks == NULL) {
    return NULL;
  }
  uintptr_t *frames = (uintptr_t *)((char *)stacks + head);
  stacks->size = size;
  stacks->capacity = count;
  for (uint32_t i = 0; i < count; i++) {
    stacks->items[i].frames = frames + i * depth;
  }
  stacks->items[0].id = gettid();
  stacks->count = 1;
  ha_thread_ids(add_id, stacks);
  return stacks;
}

static void ask(struct ha_thread_stack *place, int signal_number) {
  ha_add_relaxed(&outstanding, 1);
  ha_store_release(&place->answer, WANTED);
  if (syscall(SYS_tgkill, getpid(), place->id, signal_number) != 0) {
    place->run_state = errno == ESRCH ? 'X' : place->run_state;
    place->reach = HA_NO_ANSWER;
    place->answer = EXPIRED;
    ha_add_relaxed(&outstanding, -1);
  }
}

static void wait_for_answers(uint64_t end) {
  uint32_t left;
  uint64_t now;
  while ((left = ha_load_acquire(&outstanding)) != 0 && (now = ha_clock_monotonic()) < end) {
    struct timespec timeout = {(time_t)((end - now) / HA_SECOND), (long)((end - now) % HA_SECOND)};
    syscall(SYS_futex, &outstanding, FUTEX_WAIT_PRIVATE, left, &timeout, NULL, 0);
  }
}

static void pause_briefly(void) {
  const struct timespec time = {0, 1000000};
  syscall(SYS_nanosleep, &time, NULL);
}

/* From now on no handler takes a place; those that have one finish. */
static void end_collecting(struct ha_thread_stacks *stacks) {
  for (uint32_t i = 1; i < stacks->count; i++) {
    int wanted = WANTED;
    ha_cas_strong_acq_rel(&stacks->items[i].answer, &wanted, EXPIRED);
  }
  __atomic_store_n(&collecting, NULL, __ATOMIC_SEQ_CST);
  uint64_t end = ha_clock_monotonic() + WAIT_NANOS;
  while (__atomic_load_n(&handlers, __ATOMIC_SEQ_CST) != 0 && ha_clock_monotonic() < end) {
    pause_briefly();
  }
  for (uint32_t i = 1; i < stacks->count; i++) {
    struct ha_thread_stack *place = &stacks->items[i];
    if (place->reach == HA_REACHED && ha_load_acquire(&place->answer) != DONE) {
      place->reach = HA_NO_ANSWER;
    }
  }
}

static HA_NOINLINE void collect_own(struct ha_thread_stack *place) {
  place->run_state = 'R';
  place->reach = HA_REACHED;
  place->syscall_number = -1;
  place->label_set = ha_labels_current();
  place->frame_count = ha_unwind(place->frames, (uint32_t)ha_config.stack_depth);
}

static void collect_others(struct ha_thread_stacks *stacks, int signal_number) {
  for (uint32_t i = 1; i < stacks->count; i++) {
    describe(&stacks->items[i], signal_number);
  }
  ha_store_relaxed(&outstanding, 1); /* so that it is 0 only when all have been asked */
  __atomic_store_n(&collecting, stacks, __ATOMIC_SEQ_CST);
  for (uint32_t i = 1; i < stacks->count; i++) {
    struct ha_thread_stack *place = &stacks->items[i];
    if (place->reach == HA_REACHED && place->run_state != 'X' && place->run_state != 'Z') {
      ask(place, signal_number);
    }
  }
  ha_add_relaxed(&outstanding, -1);
  wait_for_answers(ha_clock_monotonic() + WAIT_NANOS);
  end_collecting(stacks);
}

/* Threads that ended meanwhile are left out. */
static void drop_ended(struct ha_thread_stacks *stacks) {
  uint32_t kept = 1;
  for (uint32_t i = 1; i < stacks->count; i++) {
    char state = stacks->items[i].run_state;
    if (stacks->items[i].frame_count != 0 || (state != 'X' && state != 'Z')) {
      stacks->items[kept++] = stacks->items[i];
    }
  }
  stacks->count = kept;
}

struct ha_thread_stacks *ha_thread_stacks_collect(void) {
  struct sigaction before;
  int saved = errno;
  while (ha_exchange_acq_rel(&is_busy, 1) != 0) {
    pause_briefly();
  }
  struct ha_thread_stacks *stacks = new_places();
  if (stacks != NULL) {
    int signal_number = take_signal(&before);
    describe(&stacks->items[0], 0);
    collect_own(&stacks->items[0]);
    collect_others(stacks, signal_number);
    give_signal_back(signal_number, &before);
    drop_ended(stacks);
  }
  ha_store_release(&is_busy, 0);
  errno = saved;
  return stacks;
}

void ha_thread_stacks_free(struct ha_thread_stacks *stacks) {
  if (stacks != NULL && __atomic_load_n(&handlers, __ATOMIC_SEQ_CST) == 0) {
    ha_os_unmap(stacks, stacks->size);
  }
}

void ha_thread_stacks_after_fork_in_child(void) {
  struct ha_thread_stacks *parents = collecting;
  collecting = NULL;
  handlers = 0;
  is_busy = 0;
  ha_thread_stacks_free(parents);
}

const char *ha_wait_name(int syscall_number) {
  static const struct {
    int number;
    const char *name;
  } names[] = {
      {SYS_futex, "futex"},
      {SYS_read, "read"},
      {SYS_write, "write"},
      {SYS_poll, "poll"},
      {SYS_ppoll, "ppoll"},
      {SYS_select, "select"},
      {SYS_pselect6, "pselect"},
      {SYS_epoll_wait, "epoll_wait"},
      {SYS_epoll_pwait, "epoll_pwait"},
      {SYS_nanosleep, "nanosleep"},
      {SYS_clock_nanosleep, "clock_nanosleep"},
      {SYS_accept, "accept"},
      {SYS_accept4, "accept4"},
      {SYS_connect, "connect"},
      {SYS_recvfrom, "recvfrom"},
      {SYS_recvmsg, "recvmsg"},
      {SYS_sendto, "sendto"},
      {SYS_sendmsg, "sendmsg"},
      {SYS_wait4, "wait4"},
      {SYS_waitid, "waitid"},
      {SYS_fsync, "fsync"},
      {SYS_fdatasync, "fdatasync"},
      {SYS_flock, "flock"},
      {SYS_io_getevents, "io_getevents"},
      {SYS_rt_sigtimedwait, "sigwait"},
      {SYS_rt_sigsuspend, "sigsuspend"},
      {SYS_pause, "pause"},
  };
  for (size_t i = 0; i < HA_ARRAY_LEN(names); i++) {
    if (names[i].number == syscall_number) {
      return names[i].name;
    }
  }
  return NULL;
}
