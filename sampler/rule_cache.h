/* SPDX-License-Identifier: MIT */
/*
 * The rules found so far, by address: what makes a warm stack walk cheap.
 *
 * One table for the process, no locks: a lookup is a few loads, a new rule is published with two stores. Where the
 * largest table is full around an address, the rule is found anew each time. Unloading a library forgets
 * all rules; one that is used a moment too long can give a wrong frame but never a fault, since walks check
 * what they read.
 */
#ifndef HA_SAMPLER_RULE_CACHE_H
#define HA_SAMPLER_RULE_CACHE_H

#include "base/atomic.h"
#include "base/own_mappings.h"
#include "sampler/rule.h"

struct ha_rule_slot {
  uintptr_t pc;    /* atomic: 0, then the address for good */
  uint64_t packed; /* atomic: 0 until the rule is there */
};

/* Slots in groups of one cache line. An address is hashed to its first group. */
#define HA_RULE_GROUP 4

struct ha_rule_table {
  unsigned shift; /* 2^shift slots; immutable */
  struct ha_own_mapping own;
  HA_CACHE_ALIGNED struct ha_rule_slot slots[];
};

extern struct ha_rule_table *ha_rule_table; /* atomic; NULL at first, then replaced by larger ones */
extern uint32_t ha_rule_generation;         /* atomic */

/* The packed word, from the top: CFA offset, frame offset in words, generation, kind, frame place, "there is one". */
#define HA_RULE_CFA_SHIFT (64 - HA_RULE_CFA_BITS)
#define HA_RULE_FRAME_SHIFT (HA_RULE_CFA_SHIFT - HA_RULE_FRAME_BITS)
#define HA_RULE_FRAME_MASK (((uint64_t)1 << HA_RULE_FRAME_BITS) - 1)
#define HA_RULE_GENERATION_BITS 20
#define HA_RULE_GENERATION_SHIFT 6
#define HA_RULE_GENERATION_MASK (((uint64_t)1 << HA_RULE_GENERATION_BITS) - 1)
#define HA_RULE_KIND_SHIFT 3
#define HA_RULE_KIND_MASK 7u
#define HA_RULE_PLACE_SHIFT 1
#define HA_RULE_PLACE_MASK 3u
#define HA_RULE_IS_SET 1u

HA_INLINE struct ha_rule ha_rule_unpack(uint64_t word) {
  return (struct ha_rule){
      .kind = (enum ha_rule_kind)(word >> HA_RULE_KIND_SHIFT & HA_RULE_KIND_MASK),
      .cfa_offset = (int32_t)((int64_t)word >> HA_RULE_CFA_SHIFT),
      .frame_place = (enum ha_frame_place)(word >> HA_RULE_PLACE_SHIFT & HA_RULE_PLACE_MASK),
      .frame_offset =
          HA_RULE_WORD * (int32_t)((int64_t)(word << HA_RULE_CFA_BITS) >> (64 - HA_RULE_FRAME_BITS)),
  };
}

/* Whether there is a rule, of that generation. */
HA_INLINE bool ha_rule_is_of(uint64_t word, uint64_t generation) {
  return word != 0 && (word >> HA_RULE_GENERATION_SHIFT & HA_RULE_GENERATION_MASK) == generation;
}

/* The first slot of the first group of pc in a table of 2^shift slots. */
HA_INLINE size_t ha_rule_home(uintptr_t pc, unsigned shift) {
  return (pc * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - shift) & ~(size_t)(HA_RULE_GROUP - 1);
}

/* The packed rule where nearly all are found: in the first group. 0: use ha_rule_lookup. */
HA_INLINE uint64_t ha_rule_peek(uintptr_t pc) {
  uint64_t now = ha_load_acquire(&ha_rule_generation) & HA_RULE_GENERATION_MASK;
  const struct ha_rule_table *table = ha_load_acquire(&ha_rule_table);
  if (ha_unlikely(table == NULL)) {
    return 0;
  }
  const struct ha_rule_slot *group = &table->slots[ha_rule_home(pc, table->shift)];
  for (unsigned i = 0; i < HA_RULE_GROUP; i++) {
    if (ha_load_relaxed(&group[i].pc) == pc) {
      uint64_t word = ha_load_relaxed(&group[i].packed);
      return ha_rule_is_of(word, now) ? word : 0;
    }
  }
  return 0;
}

/* As ha_rule_find, remembered. Lock-free; callable in malloc and in signal handlers. */
struct ha_rule ha_rule_lookup(uintptr_t pc);

/* From now on rules come from `resolve` when it is free, which is called for one thread at a time. Once, at
 * start-up. */
void ha_rules_resolve_with(struct ha_rule (*resolve)(uintptr_t pc));

/* Code may have gone or come at known addresses. Any thread. */
void ha_rules_forget(void);

/* Lookups that had to find the rule, so far. */
uint64_t ha_rule_misses(void);

#endif
