/* SPDX-License-Identifier: MIT */
/*
 * A hash table of chains that only grow at their head: lookup is a walk over immutable nodes, insertion a
 * compare-and-swap of the head. A thread that loses the race looks at the nodes that came in between, so no
 * stack is stored twice.
 */
#include "sampler/stack.h"

#include <string.h>

#include "base/atomic.h"
#include "sampler/table.h"

#define CHAIN_SHIFT 16
#define CHAIN_COUNT ((uint32_t)1 << CHAIN_SHIFT)

static struct ha_stack **chains; /* set once; in the sampler's region */
static uint64_t stack_count;

static uint32_t hash_frames(const uintptr_t *frames, uint32_t count) {
  uint64_t hash = count;
  for (uint32_t i = 0; i < count; i++) {
    hash = (hash ^ frames[i]) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return (uint32_t)(hash ^ hash >> 32);
}

/* Looks from `from` down to, but not including, `until`. */
static struct ha_stack *find(struct ha_stack *from, const struct ha_stack *until, uint32_t hash,
                             const uintptr_t *frames, uint32_t count) {
  for (struct ha_stack *stack = from; stack != until; stack = stack->next) {
    if (stack->hash == hash && stack->frame_count == count &&
        memcmp(stack->frames, frames, count * sizeof *frames) == 0) {
      return stack;
    }
  }
  return NULL;
}

static struct ha_stack *new_stack(uint32_t hash, const uintptr_t *frames, uint32_t count) {
  struct ha_stack *stack = ha_table_memory(sizeof *stack + count * sizeof *frames);
  if (stack != NULL) {
    stack->hash = hash;
    stack->frame_count = count;
    memcpy(stack->frames, frames, count * sizeof *frames);
  }
  return stack;
}

const struct ha_stack *ha_stack_intern(const uintptr_t *frames, uint32_t count) {
  struct ha_stack **table = ha_table_chains((void ***)&chains, CHAIN_COUNT);
  if (table == NULL) {
    return NULL;
  }
  uint32_t hash = hash_frames(frames, count);
  struct ha_stack **head = &table[hash >> (32 - CHAIN_SHIFT)];
  struct ha_stack *first = ha_load_acquire(head);
  struct ha_stack *stack = find(first, NULL, hash, frames, count);
  if (stack != NULL) {
    return stack;
  }
  stack = new_stack(hash, frames, count);
  if (stack == NULL) {
    return NULL;
  }
  const struct ha_stack *seen = first;
  do {
    struct ha_stack *other = find(first, seen, hash, frames, count);
    if (other != NULL) {
      return other; /* the copy is lost to the region; races on a new stack are rare */
    }
    seen = first;
    stack->next = first;
    /* Release: the frames are written before the head shows them; pairs with the acquire above. */
  } while (!ha_cas_weak_acq_rel(head, &first, stack));
  ha_add_relaxed(&stack_count, 1);
  return stack;
}

uint64_t ha_stack_count(void) {
  return ha_load_relaxed(&stack_count);
}
