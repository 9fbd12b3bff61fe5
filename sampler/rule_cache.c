/* SPDX-License-Identifier: MIT */
/*
 * Open addressing over short windows. A slot is claimed by its address (compare-and-swap from 0) and never
 * given up; its rule is one packed word with the generation it was found in, so that rule and validity change
 * together.
 */
#include "sampler/rule_cache.h"

#include "base/atomic.h"
#include "base/os.h"

/* A small table first: few programs are sampled in more than some thousand places, and a sparse table costs an OS page
 * for every rule. What finds no slot there goes to the large one. */
#define TABLE_COUNT 2
#define WINDOW 8

static const unsigned shifts[TABLE_COUNT] = {11, 16}; /* 32 KiB, 1 MiB */

struct slot {
  uintptr_t pc;    /* atomic: 0, then the address for good */
  uint64_t packed; /* atomic: 0 until the rule is there */
};

/* The packed word, from the top: CFA offset, frame offset in words, generation, kind, frame place, "there is one". */
#define CFA_SHIFT (64 - HA_RULE_CFA_BITS)
#define FRAME_SHIFT (CFA_SHIFT - HA_RULE_FRAME_BITS)
#define FRAME_MASK (((uint64_t)1 << HA_RULE_FRAME_BITS) - 1)
#define GENERATION_BITS 20
#define GENERATION_SHIFT 6
#define GENERATION_MASK (((uint64_t)1 << GENERATION_BITS) - 1)
#define KIND_SHIFT 3
#define KIND_MASK 7u
#define PLACE_SHIFT 1
#define PLACE_MASK 3u
#define IS_SET 1u

_Static_assert(FRAME_SHIFT >= GENERATION_SHIFT + GENERATION_BITS, "the fields do not overlap");

static struct slot *tables[TABLE_COUNT]; /* atomic; each set once */
static uint32_t generation;              /* atomic */
static uint64_t misses;
static struct ha_rule (*resolver)(uintptr_t pc); /* atomic; set once */
static int resolver_is_busy;                     /* atomic; a thread is in it */

static uint64_t pack(struct ha_rule rule, uint64_t born) {
  return (uint64_t)rule.cfa_offset << CFA_SHIFT |
         ((uint64_t)(rule.frame_offset / HA_RULE_WORD) & FRAME_MASK) << FRAME_SHIFT |
         born << GENERATION_SHIFT | (uint64_t)rule.kind << KIND_SHIFT |
         (uint64_t)rule.frame_place << PLACE_SHIFT | IS_SET;
}

static struct ha_rule unpack(uint64_t word) {
  return (struct ha_rule){
      .kind = (enum ha_rule_kind)(word >> KIND_SHIFT & KIND_MASK),
      .cfa_offset = (int32_t)((int64_t)word >> CFA_SHIFT),
      .frame_place = (enum ha_frame_place)(word >> PLACE_SHIFT & PLACE_MASK),
      .frame_offset =
          HA_RULE_WORD * (int32_t)((int64_t)(word << HA_RULE_CFA_BITS) >> (64 - HA_RULE_FRAME_BITS)),
  };
}

static struct slot *table(unsigned which) {
  struct slot *known = ha_load_acquire(&tables[which]);
  if (ha_likely(known != NULL)) {
    return known;
  }
  size_t size = sizeof *known << shifts[which];
  struct slot *mine = ha_os_reserve(size);
  struct slot *none = NULL;
  if (mine == NULL || ha_cas_strong_acq_rel(&tables[which], &none, mine)) {
    return mine;
  }
  ha_os_unmap(mine, size);
  return none;
}

/* The slot of pc in a table, claimed if it had none; NULL when the window is full of others. */
static struct slot *slot_in(unsigned which, uintptr_t pc) {
  struct slot *first = table(which);
  if (first == NULL) {
    return NULL;
  }
  size_t mask = ((size_t)1 << shifts[which]) - 1;
  size_t start = (pc * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - shifts[which]);
  for (size_t i = 0; i < WINDOW; i++) {
    struct slot *slot = &first[(start + i) & mask];
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

static struct slot *slot_of(uintptr_t pc) {
  struct slot *slot = slot_in(0, pc);
  return ha_likely(slot != NULL) ? slot : slot_in(1, pc);
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

static HA_COLD struct ha_rule find_and_keep(struct slot *slot, uintptr_t pc, uint64_t now) {
  ha_add_relaxed(&misses, 1);
  struct ha_rule rule = find(pc);
  if (slot != NULL) {
    ha_store_relaxed(&slot->packed, pack(rule, now));
  }
  return rule;
}

struct ha_rule ha_rule_lookup(uintptr_t pc) {
  /* Before the rule is looked at or found: a rule found across a change carries the older number. */
  uint64_t now = ha_load_acquire(&generation) & GENERATION_MASK;
  struct slot *slot = slot_of(pc);
  uint64_t word = slot != NULL ? ha_load_relaxed(&slot->packed) : 0;
  if (ha_likely(word != 0 && (word >> GENERATION_SHIFT & GENERATION_MASK) == now)) {
    return unpack(word);
  }
  return find_and_keep(slot, pc, now);
}

/* When the number that rules carry comes round, the rules that still carry it go. */
static void drop_all(void) {
  for (unsigned which = 0; which < TABLE_COUNT; which++) {
    struct slot *first = ha_load_acquire(&tables[which]);
    for (size_t i = 0; first != NULL && i < (size_t)1 << shifts[which]; i++) {
      ha_store_relaxed(&first[i].packed, 0);
    }
  }
}

void ha_rules_forget(void) {
  uint32_t next = __atomic_add_fetch(&generation, 1, __ATOMIC_ACQ_REL);
  if ((next & GENERATION_MASK) == 0) {
    drop_all();
  }
}

uint64_t ha_rule_misses(void) {
  return ha_load_relaxed(&misses);
}
