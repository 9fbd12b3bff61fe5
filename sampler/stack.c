/* SPDX-License-Identifier: MIT */
/*
 * A hash table of chains that only grow at their head: lookup is a walk over immutable nodes, insertion a
 * compare-and-swap of the head. A thread that loses the race looks at the nodes that came in between, so no
 * stack is stored twice.
 */
#include "sampler/stack.h"

#include <string.h>

#include "base/atomic.h"
#include "sampler/chains.h"
#include "sampler/table.h"

static struct ha_chains chains;

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

/* In the levels below the one that new stacks go to. */
static struct ha_stack *find_below(unsigned level, uint32_t hash, const uintptr_t *frames, uint32_t count) {
  struct ha_stack *stack = NULL;
  for (unsigned below = 0; below < level && stack == NULL; below++) {
    void **head = ha_chains_head(&chains, below, hash, false);
    stack = head != NULL ? find(ha_load_acquire(head), NULL, hash, frames, count) : NULL;
  }
  return stack;
}

const struct ha_stack *ha_stack_intern(const uintptr_t *frames, uint32_t count) {
  uint32_t hash = hash_frames(frames, count);
  unsigned level = ha_chains_level(&chains);
  struct ha_stack *stack = find_below(level, hash, frames, count);
  struct ha_stack **head = (struct ha_stack **)ha_chains_head(&chains, level, hash, true);
  if (stack != NULL || head == NULL) {
    return stack;
  }
  struct ha_stack *first = ha_load_acquire(head);
  stack = find(first, NULL, hash, frames, count);
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
  ha_add_relaxed(&chains.count, 1);
  return stack;
}

uint64_t ha_stack_count(void) {
  return ha_load_relaxed(&chains.count);
}
