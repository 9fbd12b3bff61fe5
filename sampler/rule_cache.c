/* SPDX-License-Identifier: MIT */
/*
 * Open addressing over short windows. A slot is claimed by its address (compare-and-swap from 0) and never
 * given up; its rule is one packed word with the generation it was found in, so that rule and validity change
 * together.
 *
 * The table starts small, since few programs are sampled in more than some hundred places and a sparse table costs an
 * OS page for every rule. When there is no slot left around an address, one four times as large takes its place, and
 * rules are found anew as they are wanted. Whoever still looks at the old one is not disturbed: it stays.
 */
#include "sampler/rule_cache.h"

#include "base/atomic.h"
#include "base/os.h"

#define WINDOW (2 * HA_RULE_GROUP)
#define SMALLEST_SHIFT 11 /* 32 KiB */
#define LARGEST_SHIFT 17  /* 2 MiB; some 50,000 rules */
#define SHIFT_STEP 2

_Static_assert(HA_RULE_FRAME_SHIFT >= HA_RULE_GENERATION_SHIFT + HA_RULE_GENERATION_BITS,
               "the fields of a packed rule do not overlap");

struct ha_rule_table *ha_rule_table;
uint32_t ha_rule_generation;
static uint64_t misses;
static struct ha_rule (*resolver)(uintptr_t pc); /* atomic; set once */
static int resolver_is_busy;                     /* atomic; a thread is in it */

static uint64_t pack(struct ha_rule rule, uint64_t born) {
  return (uint64_t)rule.cfa_offset << HA_RULE_CFA_SHIFT |
         ((uint64_t)(rule.frame_offset / HA_RULE_WORD) & HA_RULE_FRAME_MASK) << HA_RULE_FRAME_SHIFT |
         born << HA_RULE_GENERATION_SHIFT | (uint64_t)rule.kind << HA_RULE_KIND_SHIFT |
         (uint64_t)rule.frame_place << HA_RULE_PLACE_SHIFT | HA_RULE_IS_SET;
}

/* A table of 2^shift slots in place of `old`; or the one that another thread has put there, or NULL without memory. */
static HA_COLD struct ha_rule_table *replace(struct ha_rule_table *old, unsigned shift) {
  size_t size = ha_align_up(sizeof *old + (sizeof *old->slots << shift), HA_OS_PAGE);
  struct ha_rule_table *mine = ha_os_reserve(size);
  if (mine == NULL) {
    return NULL;
  }
  mine->shift = shift;
  struct ha_rule_table *known = old;
  if (ha_cas_strong_acq_rel(&ha_rule_table, &known, mine)) {
    ha_own_mappings_add(&mine->own, mine, size);
    return mine;
  }
  ha_os_unmap(mine, size);
  return known;
}

/* The slot of pc, claimed if it had none; NULL when the window is full of others. */
static struct ha_rule_slot *slot_in(struct ha_rule_table *table, uintptr_t pc) {
  size_t mask = ((size_t)1 << table->shift) - 1;
  size_t start = ha_rule_home(pc, table->shift);
  for (size_t i = 0; i < WINDOW; i++) {
    struct ha_rule_slot *slot = &table->slots[(start + i) & mask];
    uintptr_t found = ha_load_relaxed(&slot->pc);
    if (found == 0 && ha_cas_strong_acq_rel(&slot->pc, &found, pc)) {
      return slot;
    }
    if (found == pc) {
      return slot;
    }
  }
  return NULL;
}

static struct ha_rule_slot *slot_of(uintptr_t pc) {
  struct ha_rule_table *table = ha_load_acquire(&ha_rule_table);
  if (ha_unlikely(table == NULL)) {
    table = replace(NULL, SMALLEST_SHIFT);
  }
  struct ha_rule_slot *slot = NULL;
  while (table != NULL && (slot = slot_in(table, pc)) == NULL && table->shift < LARGEST_SHIFT) {
    table = replace(table, table->shift + SHIFT_STEP);
  }
  return slot;
}

void ha_rules_resolve_with(struct ha_rule (*resolve)(uintptr_t pc)) {
  ha_store_release(&resolver, resolve);
}

/* The resolver is not waited for: a child forked while it was busy finds it busy for good, and does without.
 */
static struct ha_rule find(uintptr_t pc) {
  struct ha_rule (*resolve)(uintptr_t pc) = ha_load_acquire(&resolver);
  if (ha_likely(resolve == NULL) || ha_exchange_acq_rel(&resolver_is_busy, 1) != 0) {
    return ha_rule_find(pc);
  }
  struct ha_rule rule = resolve(pc);
  ha_store_release(&resolver_is_busy, 0);
  return rule;
}

static HA_COLD struct ha_rule find_and_keep(struct ha_rule_slot *slot, uintptr_t pc, uint64_t now) {
  ha_add_relaxed(&misses, 1);
  struct ha_rule rule = find(pc);
  if (slot != NULL) {
    ha_store_relaxed(&slot->packed, pack(rule, now));
  }
  return rule;
}

struct ha_rule ha_rule_lookup(uintptr_t pc) {
  /* Before the rule is looked at or found: a rule found across a change carries the older number. */
  uint64_t now = ha_load_acquire(&ha_rule_generation) & HA_RULE_GENERATION_MASK;
  struct ha_rule_slot *slot = slot_of(pc);
  uint64_t word = slot != NULL ? ha_load_relaxed(&slot->packed) : 0;
  return ha_likely(ha_rule_is_of(word, now)) ? ha_rule_unpack(word) : find_and_keep(slot, pc, now);
}

/* When the number that rules carry comes round, the rules that still carry it go. */
static void drop_all(void) {
  struct ha_rule_table *table = ha_load_acquire(&ha_rule_table);
  for (size_t i = 0; table != NULL && i < (size_t)1 << table->shift; i++) {
    ha_store_relaxed(&table->slots[i].packed, 0);
  }
}

void ha_rules_forget(void) {
  uint32_t next = __atomic_add_fetch(&ha_rule_generation, 1, __ATOMIC_ACQ_REL);
  if ((next & HA_RULE_GENERATION_MASK) == 0) {
    drop_all();
  }
}

uint64_t ha_rule_misses(void) {
  return ha_load_relaxed(&misses);
}
