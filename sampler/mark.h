/* SPDX-License-Identifier: MIT */
/*
 * Marks: points in time that the program sets, to ask later what was allocated since and is still live.
 *
 * A sample keeps the low bits of the mark's number and its time of birth. Numbers of 256 marks apart look the
 * same, and are told apart by the time. Costs a sample one load.
 */
#ifndef HA_SAMPLER_MARK_H
#define HA_SAMPLER_MARK_H

#include "sampler/sample.h"

/* The number of the last mark; 0 before the first. */
uint32_t ha_mark_now(void);

/* Sets a mark and returns its number. Any thread. */
uint32_t ha_mark_set(void);

/* The last mark and when it was set; the start of time before the first. */
struct ha_mark {
  uint32_t number;
  uint32_t ticks;
};
struct ha_mark ha_mark_last(void);

/* Whether a sample with these stamps was taken since `mark`, which was the last one at `now` (ticks). */
bool ha_mark_is_since(const struct ha_mark *mark, uint32_t now, uint32_t slack_and_mark, uint32_t born);

#endif
