/* SPDX-License-Identifier: MIT */
/*
 * What a walk found is gathered on its own stack and takes its place in the trail at the end.
 */
#include "sampler/trail.h"

#include "base/meta.h"
#include "sampler/rule_cache.h"

static HA_TLS struct ha_trail *own_trail;
static struct ha_trail no_trail = {.is_busy = true}; /* of threads that have ended */

void ha_trail_open(void) {
  if (ha_unlikely(own_trail == NULL)) {
    own_trail = ha_meta_alloc(sizeof *own_trail, HA_META_PROFILE);
  }
}

void ha_trail_close(void) {
  struct ha_trail *trail = own_trail;
  own_trail = &no_trail;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  if (trail != NULL && trail != &no_trail) {
    ha_meta_free(trail, sizeof *trail, HA_META_PROFILE);
  }
}

void ha_trail_begin(struct ha_trail_walk *walk, uintptr_t high) {
  struct ha_trail *trail = own_trail;
  walk->trail = NULL;
  walk->next = walk->kept = walk->found = 0;
  walk->is_whole = false;
  if (high == 0 || trail == NULL || trail->is_busy) {
    return;
  }
  trail->is_busy = true;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  uint32_t generation = ha_load_acquire(&ha_rule_generation);
  if (trail->generation != generation || trail->high != high) {
    trail->generation = generation;
    trail->high = high;
    trail->count = 0;
  }
  walk->trail = trail;
  walk->next = trail->count;
}

/* Steps of the trail from index `from` - 1 down to `to` count as found. */
static void take_over(struct ha_trail_walk *walk, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i > to; i--) {
    walk->steps[walk->found++ % HA_TRAIL_FOUND] = walk->trail->steps[i - 1];
  }
}

void ha_trail_go_beyond(struct ha_trail_walk *walk) {
  take_over(walk, walk->kept, 0);
  walk->kept = 0;
}

void ha_trail_followed(struct ha_trail_walk *walk, uint32_t from, uint32_t to) {
  walk->next = to;
  if (to == 0) {
    walk->kept = from; /* the step at `from` was found, too */
  } else {
    take_over(walk, from, to);
  }
}

void ha_trail_end(struct ha_trail_walk *walk, const struct ha_stack *stack) {
  struct ha_trail *trail = walk->trail;
  if (trail == NULL) {
    return;
  }
  uint32_t count = walk->kept;
  uint32_t oldest = walk->found > HA_TRAIL_FOUND ? walk->found - HA_TRAIL_FOUND : 0;
  for (uint32_t i = walk->found; i > oldest && count < HA_TRAIL_STEPS; i--) {
    trail->steps[count++] = walk->steps[(i - 1) % HA_TRAIL_FOUND];
  }
  trail->stack = stack;
  trail->count = stack != NULL && count <= stack->frame_count ? (uint16_t)count : 0;
  trail->is_whole = walk->is_whole;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  trail->is_busy = false;
}
