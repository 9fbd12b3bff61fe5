/* SPDX-License-Identifier: MIT */
/*
 * One thread releases at a time (HA_RANK_RELEASE). The span it works on is out of circulation for as long.
 */
#include "alloc/release.h"

#include <errno.h>
#include <time.h>

#include "alloc/abandoned.h"
#include "alloc/arena.h"
#include "alloc/background.h"
#include "alloc/heap_pool.h"
#include "alloc/limit.h"
#include "alloc/resident.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/os.h"
#include "sampler/trace.h"

#define CHUNK_SLICES ((size_t)64) /* 4 MiB: at most a millisecond in the kernel */
/* Of locked memory the kernel gives nothing; so many refusals are enough to see that most of it is. */
#define REFUSALS_MAX 256
#define REFUSED_SPANS_MAX 8
#define WINDOW_NANOS (2 * HA_SECOND)
#define KEPT_PERCENT 110 /* of the peak */
#define POKE_EVERY (HA_SECOND / 4)
#define POKE_BYTES ((size_t)1024 * 1024)
#define POKE_PAGES 16
#define POKE_SHARE 100 /* a poke may take one hundredth of the time until the next */

static struct ha_release_totals totals; /* HA_RANK_RELEASE; read without */

/* The most slices in use, in this window and the one before. Whoever calls ha_release_surplus. */
static struct {
  uint64_t started;
  uint64_t peak;
  uint64_t peak_before;
} window;

static uint64_t next_poke;  /* atomic: monotonic nanoseconds */
static uint64_t next_round; /* atomic: the same */

/* One call of ha_release. */
struct task {
  size_t wanted; /* OS pages */
  size_t released;
  unsigned refusals; /* by the kernel, of locked memory */
};

/* Halves what is refused as a whole, so that a locked OS page keeps no other. */
static void release_range(struct task *task, unsigned arena, char *start, size_t size) {
  if (task->refusals >= REFUSALS_MAX || ha_resident_count(arena, start, size) == 0) {
    return;
  }
  if (ha_os_release(start, size)) {
    task->released += ha_resident_clear(arena, start, size);
    return;
  }
  task->refusals++;
  if (size > HA_OS_PAGE) {
    size_t half = ha_align_up(size / 2, HA_OS_PAGE);
    release_range(task, arena, start, half);
    release_range(task, arena, start + half, size - half);
  }
}

static void release_span(struct task *task, const struct ha_page *span) {
  for (size_t from = 0; from < span->slices && task->released < task->wanted; from += CHUNK_SLICES) {
    size_t slices = span->slices - from < CHUNK_SLICES ? span->slices - from : CHUNK_SLICES;
    release_range(task, span->arena, span->start + from * HA_SLICE, slices * HA_SLICE);
  }
}

static struct ha_page *withdraw_span(void) {
  ha_lock(HA_RANK_ARENA);
  struct ha_page *span = ha_span_withdraw_resident_locked();
  ha_unlock(HA_RANK_ARENA);
  return span;
}

static void return_span(struct ha_page *span, size_t released) {
  ha_lock(HA_RANK_ARENA);
  ha_span_return_locked(span, released);
  ha_unlock(HA_RANK_ARENA);
}

/* Spans of which nothing can be released are kept out of the way of the others until the end. */
static void release_spans(struct task *task) {
  struct ha_page *refused[REFUSED_SPANS_MAX];
  unsigned refused_count = 0;
  while (task->released < task->wanted && task->refusals < REFUSALS_MAX &&
         refused_count < REFUSED_SPANS_MAX) {
    struct ha_page *span = withdraw_span();
    if (span == NULL) {
      break;
    }
    size_t before = task->released;
    release_span(task, span);
    if (task->released == before) {
      refused[refused_count++] = span;
    } else {
      return_span(span, task->released - before);
    }
  }
  while (refused_count > 0) {
    return_span(refused[--refused_count], 0);
  }
}

size_t ha_release(size_t bytes) {
  struct task task = {.wanted = bytes / HA_OS_PAGE + (bytes % HA_OS_PAGE != 0)};
  uint64_t begun = ha_trace_clock();
  ha_lock(HA_RANK_RELEASE);
  uint64_t started = ha_clock_thread();
  release_spans(&task);
  ha_owner_add(&totals.bytes, task.released * HA_OS_PAGE);
  ha_owner_add(&totals.nanos, ha_clock_thread() - started);
  ha_unlock(HA_RANK_RELEASE);
  if (task.released != 0) {
    ha_trace_since(HA_TRACE_RELEASE, begun, (int64_t)(task.released * HA_OS_PAGE));
  }
  return task.released * HA_OS_PAGE;
}

/* Pages of threads that do nothing, although others have freed blocks in them. Every two seconds at most. */
static void take_from_idle_heaps(bool at_once) {
  uint64_t now = ha_clock_coarse();
  uint64_t due = ha_load_relaxed(&next_round);
  if (!at_once && (now < due || !ha_cas_strong_acq_rel(&next_round, &due, now + WINDOW_NANOS))) {
    return;
  }
  for (struct ha_heap *heap = ha_heap_first(); heap != NULL; heap = heap->next) {
    ha_abandoned_take_from_idle(heap, at_once);
  }
}

size_t ha_release_in_pages(bool all, size_t max_pages) {
  uint64_t started = ha_clock_thread();
  uint64_t begun = ha_trace_clock();
  take_from_idle_heaps(all);
  size_t bytes = 0;
  size_t done = ha_abandoned_release(all, max_pages, &bytes);
  if (done > 0) {
    ha_lock(HA_RANK_RELEASE);
    ha_owner_add(&totals.bytes, bytes);
    ha_owner_add(&totals.nanos, ha_clock_thread() - started);
    ha_unlock(HA_RANK_RELEASE);
    ha_trace_since(HA_TRACE_RELEASE, begun, (int64_t)bytes);
  }
  return done;
}

size_t ha_release_all(void) {
  ha_release_in_pages(true, SIZE_MAX);
  return ha_release(SIZE_MAX - HA_OS_PAGE);
}

uint64_t ha_release_idle_bytes(void) {
  return ha_arena_totals().free_resident * HA_OS_PAGE + ha_abandoned_waiting_bytes() + ha_heap_queued_bytes();
}

size_t ha_release_surplus(uint64_t now) {
  uint64_t peak = ha_arena_take_peak();
  window.peak = peak > window.peak ? peak : window.peak;
  struct ha_arena_totals arenas = ha_arena_totals();
  uint64_t used = arenas.slices - arenas.free_slices;
  uint64_t kept = (window.peak > window.peak_before ? window.peak : window.peak_before) * KEPT_PERCENT / 100;
  if (now - window.started >= WINDOW_NANOS) {
    window.peak_before = window.peak;
    window.peak = used;
    window.started = now;
  }
  uint64_t idle = arenas.free_resident * HA_OS_PAGE;
  uint64_t allowed = kept > used ? (kept - used) * HA_SLICE : 0;
  return idle > allowed ? idle - allowed : 0;
}

static void poke(void) {
  if (ha_limit_is_set() || ha_release_idle_bytes() >= HA_BACKGROUND_IDLE_MIN) {
    ha_background_start_in_malloc();
    if (ha_background_runs()) {
      return;
    }
  }
  uint64_t now = ha_clock_coarse();
  uint64_t due = ha_load_relaxed(&next_poke);
  if (now < due || !ha_cas_strong_acq_rel(&next_poke, &due, now + POKE_EVERY)) {
    return;
  }
  uint64_t started = ha_clock_thread();
  ha_limit_tick(now);
  size_t surplus = ha_release_surplus(now);
  if (surplus > 0) {
    ha_release(surplus < POKE_BYTES ? surplus : POKE_BYTES);
  } else if (ha_release_in_pages(false, POKE_PAGES) == 0) {
    return;
  }
  ha_store_relaxed(&next_poke, now + (ha_clock_thread() - started) * POKE_SHARE);
}

void ha_release_poke(void) {
  if (!ha_background_runs()) {
    int saved = errno; /* free keeps it, and functions of the application may be called */
    poke();
    errno = saved;
  }
}

struct ha_release_totals ha_release_totals(void) {
  return (struct ha_release_totals){ha_load_relaxed(&totals.bytes), ha_load_relaxed(&totals.nanos)};
}
