/* SPDX-License-Identifier: MIT */
/*
 * Any number of threads may make room at once; releasing itself is one at a time. What is shared here are single atomic
 * words: being a moment late with one of them costs an attempt too many or too few.
 */
#include "alloc/limit.h"

#include <errno.h>

#include "alloc/arena.h"
#include "alloc/background.h"
#include "alloc/heap_pool.h"
#include "alloc/large.h"
#include "alloc/pressure.h"
#include "alloc/release.h"
#include "alloc/resident.h"
#include "alloc/thread.h"
#include "base/cgroup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/meta.h"
#include "base/os.h"
#include "halloc.h"
#include "sampler/table.h"

/* Room is made for a little more than is needed, so that not every allocation comes here. */
#define SLACK_DIVISOR 64
#define SLACK_MAX ((uint64_t)4 * 1024 * 1024)
/* Nine tenths of the time belong to the program. A quarter of a second of work may come at once. */
#define CPU_SHARE 10
#define BURST_NANOS (HA_SECOND / 4 * CPU_SHARE)
/* After an attempt in vain: this long, or until so much more is used. */
#define FUTILE_NANOS (HA_SECOND / 100)
#define FUTILE_BYTES ((uint64_t)1024 * 1024)
/* Pages of its own that a thread looks into in one attempt. */
#define PARKED_AT_ONCE 256
#define CGROUP_EVERY HA_SECOND
#define KEPT_PERCENT 95

int64_t ha_limit_bytes = HA_LIMIT_NONE;

bool ha_limit_is_hard;          /* written at start-up */
static uint64_t exceeded_count; /* atomic */
static uint64_t paid_until;     /* atomic: work done so far is paid for when the clock is there */
static uint64_t futile_until;   /* atomic */
static uint64_t futile_above;   /* atomic: bytes */
static uint64_t asked_at;       /* atomic: when the other threads were asked to trim */

/* A limit that is a share of another. Background thread, and start-up before it. */
static struct {
  struct ha_cgroup cgroup;
  int64_t percent; /* atomic; 0: the limit is a number */
  uint64_t checked_at;
} share;

uint64_t ha_limit_quantity(void) {
  return ha_resident_pages() * HA_OS_PAGE + ha_large_totals().huge_bytes + ha_meta_mapped_bytes() +
         ha_table_bytes();
}

static uint64_t excess(void) {
  uint64_t quantity = ha_limit_quantity();
  uint64_t limit = (uint64_t)ha_load_relaxed(&ha_limit_bytes);
  return quantity > limit ? quantity - limit : 0;
}

static void release_down(uint64_t limit) {
  uint64_t over = excess();
  if (over > 0) {
    uint64_t slack = limit / SLACK_DIVISOR;
    ha_release(over + (slack < SLACK_MAX ? slack : SLACK_MAX));
  }
}

/* Empty pages, and what is free inside others of the heap. Whether the other threads were asked, too: not every time. */
static bool collect_empty_pages(struct ha_heap *heap, uint64_t now) {
  if (heap != NULL) {
    ha_outbox_flush(&heap->outbox);
    ha_heap_trim(heap);
    ha_heap_park(heap, PARKED_AT_ONCE);
  }
  uint64_t asked = ha_load_relaxed(&asked_at);
  if (now >= asked + FUTILE_NANOS && ha_cas_strong_acq_rel(&asked_at, &asked, now)) {
    ha_heap_ask_all_to_trim();
    ha_heap_trim_pooled();
    return true;
  }
  return false;
}

static bool is_allowed(uint64_t now) {
  return ha_load_relaxed(&paid_until) < now + BURST_NANOS &&
         (now >= ha_load_relaxed(&futile_until) || ha_limit_quantity() > ha_load_relaxed(&futile_above));
}

static void pay(uint64_t now, uint64_t nanos) {
  uint64_t paid = ha_load_relaxed(&paid_until);
  uint64_t next;
  do {
    next = (paid > now ? paid : now) + nanos * CPU_SHARE;
  } while (!ha_cas_weak_acq_rel(&paid_until, &paid, next));
}

static void give_up(uint64_t now, uint64_t limit, uint64_t over) {
  ha_add_relaxed(&exceeded_count, 1);
  ha_store_relaxed(&futile_above, limit + over + FUTILE_BYTES);
  ha_store_relaxed(&futile_until, now + FUTILE_NANOS);
  ha_pressure_note(2, limit, limit + over);
}

static void make_room(struct ha_heap *heap, uint64_t now) {
  uint64_t limit = (uint64_t)ha_load_relaxed(&ha_limit_bytes);
  uint64_t started = ha_clock_thread();
  release_down(limit);
  if (excess() > 0) {
    if (collect_empty_pages(heap, now)) {
      ha_release_in_pages(true, SIZE_MAX);
    }
    release_down(limit);
  }
  pay(now, ha_clock_thread() - started);
  uint64_t over = excess();
  if (over > 0) {
    give_up(now, limit, over);
  } else {
    ha_pressure_note(1, limit, ha_limit_quantity());
  }
}

void ha_limit_make_room(struct ha_heap *heap) {
  int saved = errno;
  uint64_t now = ha_clock_monotonic();
  if (is_allowed(now)) {
    make_room(heap, now);
    if (!ha_background_runs()) {
      ha_background_start_in_malloc();
    }
    if (!ha_background_runs()) {
      ha_limit_tick(now);
    }
  }
  errno = saved;
}

bool ha_limit_collect(struct ha_heap *heap) {
  if (!ha_limit_is_hard || !ha_limit_is_set()) {
    return false;
  }
  int saved = errno;
  uint64_t now = ha_clock_monotonic();
  bool is_tried = ha_load_relaxed(&paid_until) < now + BURST_NANOS;
  if (is_tried) {
    uint64_t started = ha_clock_thread();
    collect_empty_pages(heap, now);
    ha_release_in_pages(true, SIZE_MAX);
    pay(now, ha_clock_thread() - started);
  }
  errno = saved;
  return is_tried;
}

bool ha_limit_refuses_slow(size_t bytes) {
  uint64_t limit = (uint64_t)ha_load_relaxed(&ha_limit_bytes);
  uint64_t wanted = ha_limit_quantity() + bytes;
  if (wanted > limit) {
    ha_release(wanted - limit);
  }
  return ha_limit_quantity() + bytes > limit;
}

static void apply(int64_t bytes) {
  ha_store_relaxed(&ha_limit_bytes, bytes);
  ha_store_relaxed(&futile_until, 0);
  if (ha_limit_is_exceeded()) {
    make_room(ha_heap_of_thread(), ha_clock_monotonic());
  }
}

int64_t ha_limit_set(int64_t bytes) {
  int64_t previous = ha_load_relaxed(&ha_limit_bytes);
  if (bytes >= 0) {
    ha_store_relaxed(&share.percent, 0);
    apply(bytes);
    if (bytes != HA_LIMIT_NONE) {
      ha_background_start();
    }
    ha_background_wake();
  }
  return previous;
}

/* The share of what the cgroup allows now, or of the machine's memory. */
static void follow_share(void) {
  int64_t percent = ha_load_relaxed(&share.percent);
  uint64_t whole = ha_cgroup_limit(&share.cgroup);
  if (percent == 0 || whole == HA_CGROUP_UNKNOWN) {
    return;
  }
  uint64_t ram = ha_ram_bytes();
  whole = whole < ram ? whole : ram;
  if (whole > INT64_MAX) {
    return;
  }
  int64_t bytes = (int64_t)((unsigned __int128)whole * (uint64_t)percent / 100);
  if (bytes != ha_load_relaxed(&ha_limit_bytes)) {
    apply(bytes);
  }
}

void ha_limit_start_up(void) {
  const struct ha_limit_setting *setting = &ha_config.memlimit;
  ha_limit_is_hard = setting->is_hard;
  if (setting->kind == HA_LIMIT_BYTES) {
    ha_store_relaxed(&ha_limit_bytes, setting->value);
  } else if (setting->kind == HA_LIMIT_PERCENT) {
    ha_store_relaxed(&share.percent, setting->value);
    ha_cgroup_find(&share.cgroup, "");
    follow_share();
  }
}

void ha_limit_tick(uint64_t now) {
  if (ha_load_relaxed(&share.percent) != 0 && now >= share.checked_at + CGROUP_EVERY) {
    share.checked_at = now;
    follow_share();
  }
  ha_pressure_deliver(now);
}

size_t ha_limit_surplus(void) {
  int64_t limit = ha_load_relaxed(&ha_limit_bytes);
  if (limit == HA_LIMIT_NONE) {
    return 0;
  }
  uint64_t kept = (uint64_t)limit / 100 * KEPT_PERCENT;
  uint64_t quantity = ha_limit_quantity();
  return quantity > kept ? quantity - kept : 0;
}

uint64_t ha_limit_exceeded_count(void) {
  return ha_load_relaxed(&exceeded_count);
}

HA_EXPORT int64_t hp_set_memory_limit(int64_t bytes) {
  return ha_limit_set(bytes);
}

HA_EXPORT void hp_free_os_memory(void) {
  struct ha_heap *heap = ha_heap_of_thread();
  collect_empty_pages(heap, ha_clock_monotonic());
  if (heap != NULL) {
    ha_heap_park(heap, SIZE_MAX);
  }
  ha_release_all();
}
