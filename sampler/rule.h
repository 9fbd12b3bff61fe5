/* SPDX-License-Identifier: MIT */
/*
 * An unwind rule: how to get from a frame to its caller's, for one address of code.
 *
 * On x86-64 a walk needs three registers. The caller's stack pointer (the frame's CFA) is the stack or the
 * frame pointer plus a constant, or a word at a constant distance from the frame pointer; the return address
 * lies right below the CFA; the caller's frame pointer is the same as ours or saved at a constant distance
 * from the CFA. That fits into one word, so that a rule is published and read with one store and one load.
 */
#ifndef HA_SAMPLER_RULE_H
#define HA_SAMPLER_RULE_H

#include "base/compiler.h"

enum ha_rule_kind {
  HA_RULE_STACK,   /* CFA = stack pointer + cfa_offset */
  HA_RULE_FRAME,   /* CFA = frame pointer + cfa_offset */
  HA_RULE_BASE,    /* CFA = register rbx + cfa_offset: ld.so's lazy binding */
  HA_RULE_LOADED,  /* CFA = word at (frame pointer + cfa_offset): functions that align their stack */
  HA_RULE_SIGNAL,  /* the kernel's signal frame: registers are in the ucontext at the stack pointer */
  HA_RULE_LAST,    /* outermost frame: there is no caller */
  HA_RULE_COMPLEX, /* there is unwind information, but it needs more than a rule can say */
  HA_RULE_UNKNOWN, /* no unwind information */
};

/* Where the caller's frame pointer is. */
enum ha_frame_place {
  HA_FRAME_KEPT,    /* it is ours */
  HA_FRAME_AT_CFA,  /* saved at CFA + frame_offset */
  HA_FRAME_AT_FRAME /* saved at frame pointer + frame_offset */
};

/* Where the caller's rbx is. Only walks that meet HA_RULE_BASE ask for it; it is not kept in the cache. */
enum ha_base_place {
  HA_BASE_KEPT,
  HA_BASE_AT_CFA, /* saved at CFA + base_offset */
  HA_BASE_LOST    /* somewhere a rule cannot say */
};

struct ha_rule {
  enum ha_rule_kind kind;
  int32_t cfa_offset;
  enum ha_frame_place frame_place;
  int32_t frame_offset;
  enum ha_base_place base_place;
  int32_t base_offset;
};

/* Limits of the packed form: offsets of +-8 MiB, and of +-64 KiB in words. Larger frames are HA_RULE_COMPLEX. */
#define HA_RULE_CFA_BITS 24
#define HA_RULE_FRAME_BITS 14
#define HA_RULE_WORD 8

/*
 * The rule for the instruction at pc (a return address less one; exactly the address after a signal). Reads
 * the unwind tables (.eh_frame) of the object that ld.so says holds pc; takes no lock and does not allocate.
 * About a microsecond. Callable in malloc and in signal handlers. Source: DWARF 5 section 6.4; Linux Standard
 * Base, "Exception Frames".
 */
struct ha_rule ha_rule_find(uintptr_t pc);

#endif
