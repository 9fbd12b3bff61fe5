/* SPDX-License-Identifier: MIT */
/*
 * Reading a stack without ever faulting.
 *
 * A thread's own stack stays mapped while the thread runs, so what was once seen to be readable of it is
 * remembered. On any other stack (a signal's, a coroutine's) every OS page is asked for again in every walk.
 */
#ifndef HA_SAMPLER_STACK_MEMORY_H
#define HA_SAMPLER_STACK_MEMORY_H

#include "base/compiler.h"

/* One walk's view. */
struct ha_stack_memory {
  uintptr_t low; /* [low, high) is readable; both 0 on a stack that is not the thread's */
  uintptr_t high;
  uintptr_t page; /* the last OS page found readable outside that range */
};

/* sp: the stack pointer the walk starts from. */
void ha_stack_memory_begin(struct ha_stack_memory *memory, uintptr_t sp);

/* sp: where the walk ended. If its frames led up to what is known of the thread's stack, more is known of it now. */
void ha_stack_memory_end(const struct ha_stack_memory *memory, uintptr_t sp);

bool ha_stack_memory_check_slow(struct ha_stack_memory *memory, uintptr_t address);

/* Reads the aligned word at address; false if it cannot be read. May change errno. */
HA_INLINE bool ha_stack_memory_read(struct ha_stack_memory *memory, uintptr_t address, uintptr_t *word) {
  bool is_inside = address >= memory->low && address < memory->high;
  if (ha_unlikely(!is_inside && !ha_stack_memory_check_slow(memory, address))) {
    return false;
  }
  *word = *(const uintptr_t *)address;
  return true;
}

#endif
