/* SPDX-License-Identifier: MIT */
/*
 * Who writes an event announces itself first, as handlers of CPU samples do, so that the buffer goes only
 * when nobody is in it.
 */
#include "sampler/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "labels/context.h"
#include "labels/set.h"
#include "sampler/thread_list.h"

#define EVENTS 65536
#define NAME_SIZE 16 /* the kernel's TASK_COMM_LEN */
#define PAUSES 2000
#define PAUSE_NANOS 1000000

struct event {
  uint64_t start; /* nanoseconds of the monotonic clock */
  uint64_t duration;
  const struct ha_stack *stack;
  int64_t values[2];
  pid_t thread;
  uint32_t label_set;
  uint16_t kind;
  bool is_written;      /* atomic; the rest is there */
  char name[NAME_SIZE]; /* of a thread that ends */
};

enum state { OFF, CHANGING, RUNNING, ENDED };

int ha_trace_is_on;

static struct {
  int state;   /* atomic */
  int writers; /* atomic; at work */
  struct event *events;
  uint64_t started;
  uint64_t duration;
  size_t count;     /* atomic; may exceed EVENTS */
  uint64_t dropped; /* atomic */
} trace;

static void write_event(enum ha_trace_kind kind, uint64_t start, uint64_t duration,
                        const struct ha_stack *stack, const int64_t *values) {
  size_t place = ha_add_relaxed(&trace.count, 1);
  if (place >= EVENTS) {
    ha_add_relaxed(&trace.dropped, 1);
    return;
  }
  struct event *event = &trace.events[place];
  event->start = start;
  event->duration = duration;
  event->stack = stack;
  event->values[0] = values[0];
  event->values[1] = values[1];
  event->thread = gettid();
  event->label_set = ha_labels_current();
  event->kind = (uint16_t)kind;
  if (kind == HA_TRACE_THREAD_END) {
    prctl(PR_GET_NAME, event->name);
  }
  ha_store_release(&event->is_written, true);
}

void ha_trace_add(enum ha_trace_kind kind, uint64_t start, uint64_t duration, const struct ha_stack *stack,
                  int64_t first, int64_t second) {
  const int64_t values[] = {first, second};
  int saved = errno;
  __atomic_fetch_add(&trace.writers, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&trace.state, __ATOMIC_SEQ_CST) == RUNNING) {
    write_event(kind, start, duration, stack, values);
  }
  __atomic_fetch_sub(&trace.writers, 1, __ATOMIC_SEQ_CST);
  errno = saved;
}

static size_t buffer_size(void) {
  return ha_align_up(EVENTS * sizeof(struct event), HA_OS_PAGE);
}

int ha_trace_start(void) {
  int off = OFF;
  if (!ha_cas_strong_acq_rel(&trace.state, &off, CHANGING)) {
    return -EBUSY;
  }
  trace.events = ha_os_reserve(buffer_size());
  if (trace.events == NULL) {
    ha_store_release(&trace.state, OFF);
    return -ENOMEM;
  }
  trace.count = 0;
  trace.dropped = 0;
  trace.started = ha_clock_monotonic();
  __atomic_store_n(&trace.state, RUNNING, __ATOMIC_SEQ_CST);
  ha_store_release(&ha_trace_is_on, 1);
  return 0;
}

static bool wait_for_writers(void) {
  const struct timespec time = {0, PAUSE_NANOS};
  for (int i = 0; i < PAUSES && __atomic_load_n(&trace.writers, __ATOMIC_SEQ_CST) != 0; i++) {
    syscall(SYS_nanosleep, &time, NULL);
  }
  return __atomic_load_n(&trace.writers, __ATOMIC_SEQ_CST) == 0;
}

void ha_trace_stop(void) {
  ha_store_release(&ha_trace_is_on, 0);
  __atomic_store_n(&trace.state, CHANGING, __ATOMIC_SEQ_CST);
  trace.duration = ha_clock_monotonic() - trace.started;
  wait_for_writers();
  ha_store_release(&trace.state, ENDED);
}

static const struct {
  const char *title;
  enum ha_trace_form form;
  struct ha_row_number numbers[2]; /* key NULL: none */
} kinds[HA_TRACE_KIND_COUNT] = {
    [HA_TRACE_ALLOC] = {"alloc", HA_TRACE_INSTANT, {{"bytes", 0, "bytes"}, {"objects", 0, "count"}}},
    [HA_TRACE_THREAD_BEGIN] = {"thread begins", HA_TRACE_INSTANT, {{NULL, 0, NULL}}},
    [HA_TRACE_THREAD_END] = {"thread ends", HA_TRACE_INSTANT, {{NULL, 0, NULL}}},
    [HA_TRACE_WAIT] = {"wait", HA_TRACE_SPAN, {{NULL, 0, NULL}}},
    [HA_TRACE_UNLOCK] = {"unlock of a contended lock",
                         HA_TRACE_INSTANT,
                         {{"contentions", 0, "count"}, {"delay", 0, "nanoseconds"}}},
    [HA_TRACE_RELEASE] = {"memory given back", HA_TRACE_SPAN, {{"bytes", 0, "bytes"}}},
    [HA_TRACE_LIMIT] = {"memory limit met",
                        HA_TRACE_INSTANT,
                        {{"limit", 0, "bytes"}, {"quantity", 0, "bytes"}}},
};

static void show(const struct event *event, ha_row_fn *fn, void *arg) {
  struct ha_row row = {.title = kinds[event->kind].title, .label_set = event->label_set};
  if (event->stack != NULL) {
    row.frames = event->stack->frames;
    row.frame_count = event->stack->frame_count;
  }
  row.values[0] = event->start > trace.started ? (int64_t)(event->start - trace.started) : 0;
  row.values[1] = (int64_t)event->duration;
  row.values[2] = event->thread;
  row.values[3] = kinds[event->kind].form;
  for (unsigned i = 0; i < HA_ARRAY_LEN(event->values) && kinds[event->kind].numbers[i].key != NULL; i++) {
    row.numbers[i] = kinds[event->kind].numbers[i];
    row.numbers[i].value = event->values[i];
    row.number_count++;
  }
  fn(&row, arg);
  if (event->kind == HA_TRACE_THREAD_END) {
    struct ha_row name = {.title = event->name, .values = {0, 0, event->thread, HA_TRACE_NAME}};
    fn(&name, arg);
  }
}

struct emission {
  ha_row_fn *fn;
  void *arg;
};

/* A live thread's name. */
static void show_name(pid_t id, void *arg) {
  const struct emission *emission = arg;
  char path[sizeof "/proc/self/task//comm" + 3 * sizeof id];
  char name[NAME_SIZE + 1];
  ha_format(path, sizeof path, "/proc/self/task/%d/comm", (int)id);
  long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  long length = fd >= 0 ? syscall(SYS_read, fd, name, sizeof name - 1) : 0;
  if (fd >= 0) {
    syscall(SYS_close, fd);
  }
  if (length > 1) {
    name[length - 1] = '\0'; /* where the line ends */
    struct ha_row row = {.title = name, .values = {0, 0, id, HA_TRACE_NAME}};
    emission->fn(&row, emission->arg);
  }
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  struct emission emission = {fn, arg};
  ha_thread_ids(show_name, &emission);
  for (size_t i = 0; i < EVENTS && i < trace.count; i++) {
    if (ha_load_acquire(&trace.events[i].is_written)) {
      show(&trace.events[i], fn, arg);
    }
  }
}

void ha_trace_profile(struct ha_profile *profile) {
  *profile = (struct ha_profile){
      .name = "trace",
      .text_form = HA_TEXT_TRACE,
      .duration_nanos = (int64_t)trace.duration,
      .label = ha_label_set_item,
      .visit = visit,
  };
}

void ha_trace_discard(void) {
  /* As with CPU profiles: rather lose address space. */
  if (wait_for_writers()) {
    ha_os_unmap(trace.events, buffer_size());
  }
  ha_store_release(&trace.state, OFF);
}

uint64_t ha_trace_dropped(void) {
  return ha_load_relaxed(&trace.dropped);
}

void ha_trace_after_fork_in_child(void) {
  ha_store_relaxed(&ha_trace_is_on, 0);
  ha_store_relaxed(&trace.writers, 0);
  if (ha_load_relaxed(&trace.state) != OFF) {
    if (trace.events != NULL) {
      ha_os_unmap(trace.events, buffer_size());
    }
    ha_store_relaxed(&trace.state, OFF);
  }
}
