/* SPDX-License-Identifier: MIT */
/*
 * The trail of a thread: the outer part of its last stack walk, so that the next one need not find it again.
 *
 * A step of a walk leads from a frame's registers (return address, stack pointer, frame pointer) to its caller's, and
 * reads one or two words of the stack on the way. From the same registers it reads the same places. So when a walk
 * comes to registers that the last one had, too, it has only to compare those words: as long as they are what they
 * were, so is the caller. main, event loops and request handlers stay where they are while what they call changes.
 *
 * Only steps by plain rules on the thread's own stack are kept. When code may have gone or come at known addresses
 * (ha_rule_generation), the trail is forgotten. A walk in a signal handler that interrupts a walk does without.
 *
 *   steps[0] is the outermost; the step from steps[i + 1] leads to steps[i]
 *
 * Owned by its thread. Cost: 800 bytes from the thread's first sample to its end, 2 ns for a frame instead of 7.
 */
#ifndef HA_SAMPLER_TRAIL_H
#define HA_SAMPLER_TRAIL_H

#include "base/atomic.h"
#include "base/compiler.h"

/* A power of two, so that the place of a step is found by a mask. */
#define HA_TRAIL_STEPS 32

struct ha_trail_step {
  uintptr_t pc;
  uintptr_t fp;
  uint32_t below; /* bytes from the stack pointer up to the trail's `high` */
  int32_t saved;  /* from the stack pointer to the word that fp was loaded from, or HA_TRAIL_KEPT */
};

/* The place of the return address, where no frame pointer is saved. */
#define HA_TRAIL_KEPT (-(int32_t)sizeof(uintptr_t))

struct ha_trail {
  uintptr_t high;      /* the end of the stack */
  uint32_t generation; /* of the rules that were followed */
  uint16_t count;
  bool is_whole; /* steps[0] is the outermost frame of the thread */
  bool is_busy;  /* a walk uses it; signal handlers see it */
  struct ha_trail_step steps[HA_TRAIL_STEPS];
};

_Static_assert(sizeof(struct ha_trail) < 1024, "what unwinding keeps for a thread is less than a KiB");

/* One walk along the trail, and the steps that it found anew: innermost first, the last HA_TRAIL_STEPS of them. */
struct ha_trail_walk {
  struct ha_trail *trail; /* NULL: none is used */
  uint32_t next;          /* steps[0..next) may still be met */
  uint32_t kept;          /* steps[0..kept) were followed to the end */
  uint32_t found;
  struct ha_trail_step steps[HA_TRAIL_STEPS];
};

/* Makes the calling thread's trail, unless it has one or has ended. Not in signal handlers. */
void ha_trail_open(void);

/* The calling thread ends. */
void ha_trail_close(void);

/* high: the end of the thread's stack if the walk is on it, else 0. Callable in signal handlers. */
void ha_trail_begin(struct ha_trail_walk *walk, uintptr_t high);

/* is_whole: the walk came to the thread's outermost frame. */
void ha_trail_end(struct ha_trail_walk *walk, bool is_whole);

/* Steps of the trail that were followed count as found when others are found beyond them. */
void ha_trail_go_beyond(struct ha_trail_walk *walk);

/* A step has led to these registers; saved: as in ha_trail_step. */
HA_INLINE void ha_trail_add(struct ha_trail_walk *walk, uintptr_t pc, uintptr_t sp, uintptr_t fp,
                            intptr_t saved) {
  if (walk->trail == NULL) {
    return;
  }
  if (ha_unlikely(walk->kept != 0)) {
    ha_trail_go_beyond(walk);
  }
  /* A frame is smaller than 2 GiB, and so is a stack on which a trail is kept (stack_memory.c, unwind.c). */
  walk->steps[walk->found++ % HA_TRAIL_STEPS] =
      (struct ha_trail_step){pc, fp, (uint32_t)(walk->trail->high - sp), (int32_t)saved};
}

/* A step was of another kind: what was found before it is not part of the trail. */
void ha_trail_break(struct ha_trail_walk *walk);

/* The steps up to steps[next - 1], the innermost one with these registers; NULL if the trail does not have them. They
 * are to be followed with ha_trail_leads_to. */
HA_INLINE const struct ha_trail_step *ha_trail_meet(struct ha_trail_walk *walk, uintptr_t pc, uintptr_t sp,
                                                    uintptr_t fp) {
  const struct ha_trail *trail = walk->trail;
  uint32_t next = walk->next;
  if (next == 0) {
    return NULL;
  }
  uintptr_t below = trail->high - sp;
  while (next > 0 && trail->steps[next - 1].below > below) {
    next--;
  }
  walk->next = next;
  if (next == 0) {
    return NULL;
  }
  const struct ha_trail_step *step = &trail->steps[next - 1];
  return step->below == below && step->pc == pc && step->fp == fp ? step : NULL;
}

/* Whether the words on the stack still lead to this step from the one inside it. */
HA_INLINE bool ha_trail_leads_to(const struct ha_trail *trail, const struct ha_trail_step *step) {
  uintptr_t sp = trail->high - step->below;
  return *(const uintptr_t *)(sp - sizeof(uintptr_t)) == step->pc &&
         (step->saved == HA_TRAIL_KEPT ||
          *(const uintptr_t *)(sp + (uintptr_t)(intptr_t)step->saved) == step->fp);
}

/* The trail was followed from step `from` to step `to`, which is further out. */
void ha_trail_followed(struct ha_trail_walk *walk, const struct ha_trail_step *from,
                       const struct ha_trail_step *to);

#endif
