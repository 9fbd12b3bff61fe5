/* SPDX-License-Identifier: MIT */
/*
 * Interned call stacks: an array of return addresses, stored once and never freed, so that its address is its
 * identity and readers need no lock. Bounded by the region all tables of the sampler share.
 */
#ifndef HA_SAMPLER_STACK_H
#define HA_SAMPLER_STACK_H

#include "base/compiler.h"

struct ha_stack {
  struct ha_stack *next; /* in its hash chain; immutable once published */
  uint32_t hash;
  uint32_t frame_count;
  uintptr_t frames[];
};

/* The stack with these frames, or NULL when there is no room for a new one. Lock-free; callable in malloc. */
const struct ha_stack *ha_stack_intern(const uintptr_t *frames, uint32_t count);

/* Distinct stacks so far. */
uint64_t ha_stack_count(void);

#endif
