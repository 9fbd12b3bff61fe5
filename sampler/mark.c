/* SPDX-License-Identifier: MIT */
/*
 * Number and time are one word, so that they belong together.
 */
#include "sampler/mark.h"

#include "base/atomic.h"
#include "base/clock.h"

#define NUMBER_SHIFT 32

static uint64_t last; /* atomic: number, time */

uint32_t ha_mark_now(void) {
  /* Pairs with the release in ha_mark_set: who sees the mark reads a clock that is not before it. */
  return (uint32_t)(ha_load_acquire(&last) >> NUMBER_SHIFT);
}

struct ha_mark ha_mark_last(void) {
  uint64_t word = ha_load_acquire(&last);
  return (struct ha_mark){(uint32_t)(word >> NUMBER_SHIFT), (uint32_t)word};
}

uint32_t ha_mark_set(void) {
  uint64_t word = ha_load_relaxed(&last);
  uint64_t next;
  do {
    next = ((word >> NUMBER_SHIFT) + 1) << NUMBER_SHIFT | ha_clock_ticks();
  } while (!ha_cas_weak_acq_rel(&last, &word, next));
  return (uint32_t)(next >> NUMBER_SHIFT);
}

bool ha_mark_is_since(const struct ha_mark *mark, uint32_t now, uint32_t slack_and_mark, uint32_t born) {
  const uint32_t mask = (1u << HA_SAMPLE_MARK_BITS) - 1;
  bool is_same = (slack_and_mark & mask) == (mark->number & mask);
  /* Ages, since the clock wraps. */
  return mark->number == 0 || (is_same && ha_ticks_between(born, now) <= ha_ticks_between(mark->ticks, now));
}
