/* SPDX-License-Identifier: MIT */
/*
 * One word per level says that there is news; one thread delivers at a time. A function that is called may allocate and
 * so come to note something itself: it is told next time.
 */
#include "alloc/pressure.h"

#include <errno.h>
#include <sched.h>

#include "alloc/background.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "halloc.h"
#include "sampler/trace.h"

#define LEVELS 2
#define FUNCTIONS_MAX 8
#define TELL_EVERY HA_SECOND
#define REPORT_EVERY (60 * HA_SECOND)

typedef void pressure_fn(const struct hp_pressure *pressure, void *arg);

/* Who was registered once keeps the slot, so that function and argument always belong together. */
static struct {
  int state; /* atomic: enum slot; the other two are written before IN_USE */
  pressure_fn *fn;
  void *arg;
} functions[FUNCTIONS_MAX];

enum slot { UNUSED, CLAIMED, IN_USE, REMOVED };

static struct {
  int is_noted; /* atomic */
  uint64_t limit;
  uint64_t quantity;
  uint64_t told_at; /* whoever delivers */
} news[LEVELS];

static int is_delivering; /* atomic */
static uint64_t reported_at;
static bool has_reported;
static void (*write_report)(uint64_t limit, uint64_t quantity); /* atomic */

void ha_pressure_note(int level, uint64_t limit, uint64_t quantity) {
  ha_trace(HA_TRACE_LIMIT, NULL, (int64_t)limit, (int64_t)quantity);
  ha_store_relaxed(&news[level - 1].limit, limit);
  ha_store_relaxed(&news[level - 1].quantity, quantity);
  if (ha_exchange_acq_rel(&news[level - 1].is_noted, 1) == 0 && level == LEVELS) {
    ha_background_wake();
  }
}

static void call_all(const struct hp_pressure *pressure) {
  for (unsigned i = 0; i < FUNCTIONS_MAX; i++) {
    if (ha_load_acquire(&functions[i].state) == IN_USE) {
      functions[i].fn(pressure, functions[i].arg);
    }
  }
}

static void report(const struct hp_pressure *pressure, uint64_t now) {
  void (*write)(uint64_t, uint64_t) = ha_load_acquire(&write_report);
  if (write == NULL || (has_reported && now < reported_at + REPORT_EVERY)) {
    return;
  }
  has_reported = true;
  reported_at = now;
  write(pressure->limit, pressure->quantity);
}

static void deliver(int level, uint64_t now) {
  if (!ha_load_relaxed(&news[level - 1].is_noted) || now < news[level - 1].told_at + TELL_EVERY ||
      !ha_background_may_call_out()) {
    return;
  }
  news[level - 1].told_at = now;
  ha_exchange_acq_rel(&news[level - 1].is_noted, 0);
  uint64_t limit = ha_load_relaxed(&news[level - 1].limit);
  uint64_t quantity = ha_load_relaxed(&news[level - 1].quantity);
  uint64_t over = level == LEVELS && quantity > limit ? quantity - limit : 0;
  struct hp_pressure pressure = {level, limit, quantity, over};
  call_all(&pressure);
  if (level == LEVELS) {
    report(&pressure, now);
  }
}

void ha_pressure_deliver(uint64_t now) {
  if (ha_exchange_acq_rel(&is_delivering, 1) != 0) {
    return;
  }
  for (int level = 1; level <= LEVELS; level++) {
    deliver(level, now);
  }
  ha_store_release(&is_delivering, 0);
}

void ha_pressure_after_fork_in_child(void) {
  ha_store_relaxed(&is_delivering, 0);
  for (unsigned i = 0; i < FUNCTIONS_MAX; i++) {
    /* By a thread that the child does not have. */
    int claimed = CLAIMED;
    ha_cas_strong_acq_rel(&functions[i].state, &claimed, UNUSED);
  }
}

void ha_pressure_report_with(void (*report_fn)(uint64_t limit, uint64_t quantity)) {
  ha_store_release(&write_report, report_fn);
}

static void remove_all(void) {
  for (unsigned i = 0; i < FUNCTIONS_MAX; i++) {
    int in_use = IN_USE;
    ha_cas_strong_acq_rel(&functions[i].state, &in_use, REMOVED);
  }
}

/* Whether the slot is, or has become, that of fn and arg. */
static bool take_slot(unsigned i, pressure_fn *fn, void *arg) {
  int unused = UNUSED;
  if (ha_cas_strong_acq_rel(&functions[i].state, &unused, CLAIMED)) {
    functions[i].fn = fn;
    functions[i].arg = arg;
    ha_store_release(&functions[i].state, IN_USE);
    return true;
  }
  /* Whoever claims the slot now may be registering the same. */
  while (ha_load_acquire(&functions[i].state) == CLAIMED) {
    sched_yield();
  }
  if (functions[i].fn != fn || functions[i].arg != arg) {
    return false;
  }
  ha_store_release(&functions[i].state, IN_USE);
  return true;
}

HA_EXPORT int hp_on_memory_pressure(void (*fn)(const struct hp_pressure *, void *), void *arg) {
  if (fn == NULL) {
    remove_all();
    return 0;
  }
  for (unsigned i = 0; i < FUNCTIONS_MAX; i++) {
    if (take_slot(i, fn, arg)) {
      return 0;
    }
  }
  return -ENOMEM;
}
