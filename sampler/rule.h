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
  HA_RULE_LOADED,  /* CFA = word at (frame pointer + cfa_offset): functions that align their stack */
  HA_RULE_SIGNAL,  /* the kernel's signal frame: registers are in the ucontext at the stack pointer */
  HA_RULE_LAST,    /* outermost frame: there is no caller */
  HA_RULE_UNKNOWN, /* no unwind information, or none that fits */
};

struct ha_rule {
  enum ha_rule_kind kind;
  int32_t cfa_offset;
  bool saves_frame; /* the caller's frame pointer is at CFA + frame_offset, else it is ours */
  int32_t frame_offset;
};

/* Limits of the packed form; larger frames are HA_RULE_UNKNOWN. */
#define HA_RULE_CFA_BITS 30
#define HA_RULE_FRAME_BITS 20

/*
 * The rule for the instruction at pc (a return address less one; exactly the address after a signal). Reads
 * the unwind tables (.eh_frame) of the object that ld.so says holds pc; takes no lock and does not allocate.
 * About a microsecond. Callable in malloc and in signal handlers. Source: DWARF 5 section 6.4; Linux Standard
 * Base, "Exception Frames".
 */
struct ha_rule ha_rule_find(uintptr_t pc);

#endif
