/* SPDX-License-Identifier: MIT */
/*
 * Settings change rarely; the last of two threads that change one at a time wins.
 */
#include "sampler/contention.h"

#include <dlfcn.h>

#include "base/atomic.h"
#include "base/config.h"
#include "labels/context.h"
#include "labels/set.h"
#include "sampler/tally.h"
#include "sampler/trace.h"
#include "sampler/unwind.h"

#define TALLY_BYTES ((size_t)16 * 1024 * 1024)
/* Functions of libhalloc-locks.so between us and the program. */
#define HOOK_FRAMES_MAX 4

static const char *const names[HA_WAIT_COUNT] = {"mutex", "block"};

static int64_t settings[HA_WAIT_COUNT];         /* atomic */
static struct ha_tally *tallies[HA_WAIT_COUNT]; /* atomic; set once */
static const struct ha_lock_hooks *hooks;       /* atomic; set once */
static struct dl_find_object hooks_object;      /* written before hooks */

/* The frames of libhalloc-locks.so at the beginning. */
static uint32_t hook_frames(const uintptr_t *frames, uint32_t count) {
  uint32_t skipped = 0;
  while (skipped < count && skipped < HOOK_FRAMES_MAX &&
         frames[skipped] >= (uintptr_t)hooks_object.dlfo_map_start &&
         frames[skipped] < (uintptr_t)hooks_object.dlfo_map_end) {
    skipped++;
  }
  return skipped;
}

static void trace(enum ha_wait wait, const uintptr_t *frames, uint32_t count, const int64_t *values,
                  int64_t length) {
  const struct ha_stack *stack = ha_stack_intern(frames, count);
  uint64_t now = ha_clock_monotonic();
  if (wait == HA_WAIT_CAUSED) {
    ha_trace_add(HA_TRACE_UNLOCK, now, 0, stack, values[0], values[1]);
  } else {
    ha_trace_add(HA_TRACE_WAIT, now - (uint64_t)length, (uint64_t)length, stack, 0, 0);
  }
}

static void report(enum ha_wait wait, int64_t contentions, int64_t nanos, int64_t length) {
  uint32_t depth = (uint32_t)ha_config.stack_depth + HOOK_FRAMES_MAX;
  uintptr_t *frames = __builtin_alloca(depth * sizeof *frames);
  uint32_t count = ha_unwind(frames, depth);
  uint32_t skipped = hook_frames(frames, count);
  if (skipped == count) {
    frames[0] = HA_FRAME_UNKNOWN;
    skipped = 0;
    count = 1;
  }
  ha_tally_add(ha_load_acquire(&tallies[wait]), frames + skipped, count - skipped, ha_labels_current(),
               contentions, nanos);
  if (ha_tracing()) {
    const int64_t values[] = {contentions, nanos};
    trace(wait, frames + skipped, count - skipped, values, length);
  }
}

static const struct ha_lock_host host = {report, ha_unwind_is_own};

/* Both tallies. False without memory. */
static bool make_tallies(void) {
  for (int wait = 0; wait < HA_WAIT_COUNT; wait++) {
    struct ha_tally *none = NULL;
    struct ha_tally *mine = ha_load_acquire(&tallies[wait]) == NULL ? ha_tally_new(TALLY_BYTES) : NULL;
    if (mine != NULL && !ha_cas_strong_acq_rel(&tallies[wait], &none, mine)) {
      ha_tally_free(mine);
    }
    if (ha_load_acquire(&tallies[wait]) == NULL) {
      return false;
    }
  }
  return true;
}

static const struct ha_lock_hooks *find_hooks(void) {
  const struct ha_lock_hooks *found = ha_load_acquire(&hooks);
  if (found != NULL) {
    return found;
  }
  found = dlsym(RTLD_DEFAULT, HA_LOCK_HOOKS_NAME);
  struct dl_find_object object;
  if (found == NULL || found->version != HA_LOCK_HOOKS_VERSION ||
      _dl_find_object((void *)(uintptr_t)found->watch, &object) != 0) {
    return NULL;
  }
  hooks_object = object;
  ha_store_release(&hooks, found);
  return found;
}

int64_t ha_contention_watch(enum ha_wait wait, int64_t value, bool *ret_is_missing) {
  int64_t before = ha_load_relaxed(&settings[wait]);
  *ret_is_missing = false;
  if (value < 0 || value == before) {
    return before;
  }
  const struct ha_lock_hooks *found = find_hooks();
  if (found == NULL || !make_tallies()) {
    *ret_is_missing = true;
    return before;
  }
  before = __atomic_exchange_n(&settings[wait], value, __ATOMIC_ACQ_REL);
  found->watch(&host, ha_load_relaxed(&settings[HA_WAIT_CAUSED]),
               ha_load_relaxed(&settings[HA_WAIT_SUFFERED]));
  return before;
}

static void visit_nothing(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  (void)fn;
  (void)arg;
}

void ha_contention_profile(enum ha_wait wait, struct ha_profile *profile) {
  const struct ha_tally *tally = ha_load_acquire(&tallies[wait]);
  *profile = (struct ha_profile){
      .name = names[wait],
      .shows_allocators = true,
      .text_form = HA_TEXT_CONTENTIONS,
      .types = {{"contentions", "count"}, {"delay", "nanoseconds"}},
      .type_count = 2,
      .period_type = {"contentions", "count"},
      .period = 1,
      .label = ha_label_set_item,
      .visit = tally != NULL ? ha_tally_visit : visit_nothing,
      .source = tally,
  };
}

/* HA_RANK_PROFILE: when the last delta was gathered; at first, the start of the library. */
static uint64_t gathered_at[HA_WAIT_COUNT];
static uint64_t completed_at[HA_WAIT_COUNT];

__attribute__((constructor)) static void note_start(void) {
  completed_at[HA_WAIT_CAUSED] = completed_at[HA_WAIT_SUFFERED] = ha_clock_monotonic();
}

void ha_contention_delta(enum ha_wait wait, struct ha_profile *profile) {
  ha_contention_profile(wait, profile);
  gathered_at[wait] = ha_clock_monotonic();
  profile->duration_nanos = (int64_t)(gathered_at[wait] - completed_at[wait]);
  profile->visit = profile->source != NULL ? ha_tally_visit_delta : visit_nothing;
}

void ha_contention_complete_delta(const struct ha_profile *profile) {
  for (int wait = 0; wait < HA_WAIT_COUNT; wait++) {
    if (profile->name == names[wait]) {
      completed_at[wait] = gathered_at[wait];
    }
  }
  if (profile->source != NULL) {
    ha_tally_commit_delta((struct ha_tally *)profile->source);
  }
}

int64_t ha_contention_overflow(enum ha_wait wait) {
  const struct ha_tally *tally = ha_load_acquire(&tallies[wait]);
  return tally != NULL ? ha_tally_overflow(tally) : 0;
}
