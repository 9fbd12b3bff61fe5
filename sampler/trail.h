/* SPDX-License-Identifier: MIT */
/*
 * The trail of a thread: how the last stack that was walked for a sample hangs together, so that the next walk need not
 * find it out again.
 *
 * A step of a walk leads from a frame's registers (return address, stack pointer, frame pointer) to its caller's, and
 * reads one or two words of the stack on the way. Which ones follows from the return address and the stack pointer, and
 * in some frames from the frame pointer. So when a walk comes to a return address and a stack pointer that the last one
 * had, too, it has only to compare: as long as the return addresses on the stack are what they were, and frames that hang
 * on their frame pointer still do, so are the callers. main, event loops and request handlers stay where they are while
 * what they call changes. The return addresses themselves are those of the interned stack.
 *
 * Only steps by plain rules on the thread's own stack are kept. When code may have gone or come at known addresses
 * (ha_rule_generation), the trail is forgotten. A walk in a signal handler that interrupts a walk does without.
 *
 *   steps[0] is the outermost; the step from steps[i + 1] leads to steps[i]
 *   steps[i] is at the return address stack->frames[stack->frame_count - 1 - i]
 *   count <= stack->frame_count
 *
 * Owned by its thread. Cost: one KiB from the thread's first sample to its end, 2 ns for a frame instead of 7.
 */
#ifndef HA_SAMPLER_TRAIL_H
#define HA_SAMPLER_TRAIL_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "sampler/stack.h"

#define HA_TRAIL_STEPS 120

/* Places are in words. */
struct ha_trail_step {
  uint32_t below; /* from the stack pointer up to the trail's `high` */
  int16_t saved;  /* from the stack pointer to where the frame pointer was loaded from, or HA_TRAIL_KEPT */
  int16_t frame;  /* from the frame pointer before to the stack pointer, or HA_TRAIL_BY_STACK */
};

#define HA_TRAIL_WORD sizeof(uintptr_t)
#define HA_TRAIL_KEPT (-1)      /* that is the return address: the frame pointer is not saved */
#define HA_TRAIL_BY_STACK 0     /* the step does not depend on the frame pointer */
#define HA_TRAIL_NOWHERE 0x7fff /* for places that cannot be told: a step to be found anew each time */

struct ha_trail {
  const struct ha_stack *stack; /* NULL if count is 0 */
  uintptr_t high;               /* the end of the stack */
  uint32_t generation;          /* of the rules that were followed */
  uint16_t count;
  bool is_whole; /* steps[0] is the outermost frame of the thread */
  bool is_busy;  /* a walk uses it; signal handlers see it */
  struct ha_trail_step steps[HA_TRAIL_STEPS];
};

_Static_assert(sizeof(struct ha_trail) < 1024, "what unwinding keeps for a thread is less than a KiB");

/* A power of two above HA_TRAIL_STEPS, so that the place of a step is found by a mask. */
#define HA_TRAIL_FOUND 128

/* One walk along the trail, and the steps that it found anew: innermost first, the last HA_TRAIL_FOUND of them. */
struct ha_trail_walk {
  struct ha_trail *trail; /* NULL: none is used */
  uint32_t next;          /* steps[0..next) may still be met */
  uint32_t kept;          /* steps[0..kept) were followed to the end */
  uint32_t found;
  bool is_whole; /* the walk came to the thread's outermost frame */
  struct ha_trail_step steps[HA_TRAIL_FOUND];
};

/* Makes the calling thread's trail, unless it has one or has ended. Not in signal handlers. */
void ha_trail_open(void);

/* The calling thread ends. */
void ha_trail_close(void);

/* high: the end of the thread's stack if the walk is on it, else 0. Callable in signal handlers. */
void ha_trail_begin(struct ha_trail_walk *walk, uintptr_t high);

/* stack: what the walk has given, whose outermost frames are those of the steps; NULL to forget them. */
void ha_trail_end(struct ha_trail_walk *walk, const struct ha_stack *stack);

/* Steps of the trail that were followed count as found when others are found beyond them. */
void ha_trail_go_beyond(struct ha_trail_walk *walk);

/* What was found before is not part of the trail. */
HA_INLINE void ha_trail_break(struct ha_trail_walk *walk) {
  walk->found = 0;
  walk->kept = 0;
}

/* A step has led to this stack pointer; saved, frame: as in ha_trail_step. */
HA_INLINE void ha_trail_add(struct ha_trail_walk *walk, uintptr_t sp, intptr_t saved, intptr_t frame) {
  if (ha_unlikely(walk->kept != 0)) {
    ha_trail_go_beyond(walk);
  }
  if (ha_unlikely(saved != (int16_t)saved || frame != (int16_t)frame || saved == HA_TRAIL_NOWHERE)) {
    ha_trail_break(walk); /* this frame may still be the innermost of the trail */
  }
  /* A stack on which a trail is kept is smaller than 2^32 words (stack_memory.c). */
  walk->steps[walk->found++ % HA_TRAIL_FOUND] = (struct ha_trail_step){
      (uint32_t)((walk->trail->high - sp) / HA_TRAIL_WORD), (int16_t)saved, (int16_t)frame};
}

/* The frame of the last step was not taken. */
HA_INLINE void ha_trail_drop_last(struct ha_trail_walk *walk) {
  walk->found -= walk->found != 0;
}

HA_INLINE uintptr_t ha_trail_sp(const struct ha_trail *trail, uint32_t index) {
  return trail->high - trail->steps[index].below * HA_TRAIL_WORD;
}

HA_INLINE uintptr_t ha_trail_pc(const struct ha_trail *trail, uint32_t index) {
  return trail->stack->frames[trail->stack->frame_count - 1 - index];
}

/* The index, plus one, of the step with this return address and stack pointer; 0 if there is none. Steps further in are
 * not met any more. */
HA_INLINE uint32_t ha_trail_meet(struct ha_trail_walk *walk, uintptr_t pc, uintptr_t sp) {
  const struct ha_trail *trail = walk->trail;
  uint32_t next = walk->next;
  if (next == 0) {
    return 0;
  }
  uintptr_t below = (trail->high - sp) / HA_TRAIL_WORD;
  while (next > 0 && trail->steps[next - 1].below > below) {
    next--;
  }
  walk->next = next;
  return next > 0 && trail->steps[next - 1].below == below && ha_trail_pc(trail, next - 1) == pc ? next : 0;
}

/* Whether the stack still leads to this step from the one inside it, whose frame pointer is *fp, which becomes that of
 * the step. */
HA_INLINE bool ha_trail_leads_to(const struct ha_trail *trail, uint32_t index, uintptr_t *fp) {
  const struct ha_trail_step *step = &trail->steps[index];
  const uintptr_t *sp = (const uintptr_t *)ha_trail_sp(trail, index);
  bool hangs_on_frame = step->frame != HA_TRAIL_BY_STACK;
  if (sp[-1] != ha_trail_pc(trail, index) ||
      (hangs_on_frame && *fp + (uintptr_t)(step->frame * (intptr_t)HA_TRAIL_WORD) != (uintptr_t)sp)) {
    return false;
  }
  *fp = step->saved == HA_TRAIL_KEPT ? *fp : sp[step->saved];
  return true;
}

/* The trail was followed from step `from` to step `to`, which is further out. */
void ha_trail_followed(struct ha_trail_walk *walk, uint32_t from, uint32_t to);

#endif
