/* SPDX-License-Identifier: MIT */
/*
 * One thread releases at a time (HA_RANK_RELEASE). The span it works on is out of circulation for as long.
 */
#include "alloc/release.h"

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

#define CHUNK_SLICES ((size_t)64) /* 4 MiB: at most a millisecond in the kernel */
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

/* OS pages released of a withdrawn span, `wanted` at most but for the last piece. */
static size_t release_span(struct ha_page *span, size_t wanted) {
  size_t released = 0;
  for (size_t from = 0; from < span->slices && released < wanted; from += CHUNK_SLICES) {
    size_t slices = span->slices - from < CHUNK_SLICES ? span->slices - from : CHUNK_SLICES;
    char *start = span->start + from * HA_SLICE;
    if (ha_resident_count(span->arena, start, slices * HA_SLICE) == 0) {
      continue;
    }
    if (!ha_os_release(start, slices * HA_SLICE)) {
      break;
    }
    released += ha_resident_clear(span->arena, start, slices * HA_SLICE);
  }
  return released;
}

size_t ha_release(size_t bytes) {
  size_t wanted = (bytes + HA_OS_PAGE - 1) / HA_OS_PAGE;
  size_t released = 0;
  bool is_stuck = false;
  ha_lock(HA_RANK_RELEASE);
  uint64_t started = ha_clock_thread();
  while (released < wanted && !is_stuck) {
    ha_lock(HA_RANK_ARENA);
    struct ha_page *span = ha_span_withdraw_resident_locked();
    ha_unlock(HA_RANK_ARENA);
    if (span == NULL) {
      break;
    }
    size_t part = release_span(span, wanted - released);
    is_stuck = part == 0; /* the kernel refuses: locked memory */
    ha_lock(HA_RANK_ARENA);
    ha_span_return_locked(span, part);
    ha_unlock(HA_RANK_ARENA);
    released += part;
  }
  ha_owner_add(&totals.bytes, released * HA_OS_PAGE);
  ha_owner_add(&totals.nanos, ha_clock_thread() - started);
  ha_unlock(HA_RANK_RELEASE);
  return released * HA_OS_PAGE;
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
  take_from_idle_heaps(all);
  size_t bytes = 0;
  size_t done = ha_abandoned_release(all, max_pages, &bytes);
  if (done > 0) {
    ha_lock(HA_RANK_RELEASE);
    ha_owner_add(&totals.bytes, bytes);
    ha_owner_add(&totals.nanos, ha_clock_thread() - started);
    ha_unlock(HA_RANK_RELEASE);
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

void ha_release_poke(void) {
  if (ha_background_runs()) {
    return;
  }
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

struct ha_release_totals ha_release_totals(void) {
  return (struct ha_release_totals){ha_load_relaxed(&totals.bytes), ha_load_relaxed(&totals.nanos)};
}
