/* SPDX-License-Identifier: MIT */
/*
 * Chains as in stack.c: immutable keys, heads that only grow, no lock, no entry twice. Two entries of one key
 * would still be right (readers add up), so a lost race costs only the entry's memory.
 */
#include "sampler/table.h"

#include "base/atomic.h"
#include "base/region.h"
#include "sampler/rows.h"

#define CHAIN_SHIFT 16
#define CHAIN_COUNT ((size_t)1 << CHAIN_SHIFT)

static struct ha_region region = HA_REGION_INIT(HA_TABLE_LIMIT);
static struct ha_entry **chains;
static struct ha_stack overflow_stack = {.frame_count = 1, .frames = {HA_FRAME_OVERFLOW}};
static struct ha_entry overflow_entry = {.stack = &overflow_stack};

void *ha_table_memory(size_t size) {
  return ha_region_alloc(&region, size);
}

uint64_t ha_table_bytes(void) {
  return ha_region_used(&region);
}

void *ha_table_chains(void ***heads, size_t count) {
  void **known = ha_load_acquire(heads);
  if (known != NULL) {
    return known;
  }
  void **mine = ha_table_memory(count * sizeof *mine);
  void **none = NULL;
  if (mine == NULL || ha_cas_strong_acq_rel(heads, &none, mine)) {
    return mine;
  }
  return none;
}

static size_t chain_of(const struct ha_stack *stack, uint32_t size_class, uint32_t label_set) {
  uint64_t hash =
      (stack->hash ^ (uint64_t)size_class << 32 ^ (uint64_t)label_set << 17) * 0x9e3779b97f4a7c15u;
  return hash >> (64 - CHAIN_SHIFT);
}

static struct ha_entry *find(struct ha_entry *from, const struct ha_stack *stack, uint32_t size_class,
                             uint32_t label_set) {
  for (struct ha_entry *entry = from; entry != NULL; entry = entry->next) {
    if (entry->stack == stack && entry->size_class == size_class && entry->label_set == label_set) {
      return entry;
    }
  }
  return NULL;
}

struct ha_entry *ha_table_entry(const struct ha_stack *stack, uint32_t size_class, uint32_t label_set) {
  struct ha_entry **table = stack != NULL ? ha_table_chains((void ***)&chains, CHAIN_COUNT) : NULL;
  if (table == NULL) {
    return &overflow_entry;
  }
  struct ha_entry **head = &table[chain_of(stack, size_class, label_set)];
  struct ha_entry *first = ha_load_acquire(head);
  struct ha_entry *entry = find(first, stack, size_class, label_set);
  if (entry != NULL) {
    return entry;
  }
  entry = ha_table_memory(sizeof *entry);
  if (entry == NULL) {
    return &overflow_entry;
  }
  entry->stack = stack;
  entry->size_class = size_class;
  entry->label_set = label_set;
  do {
    struct ha_entry *other = find(first, stack, size_class, label_set);
    if (other != NULL) {
      return other;
    }
    entry->next = first;
    /* Release: the key is written before the head shows it; pairs with the acquire above. */
  } while (!ha_cas_weak_acq_rel(head, &first, entry));
  return entry;
}

bool ha_table_is_overflow(const struct ha_entry *entry) {
  return entry == &overflow_entry;
}

void ha_table_visit(void (*visit)(struct ha_entry *entry, void *arg), void *arg) {
  struct ha_entry **table = ha_load_acquire(&chains);
  for (size_t i = 0; table != NULL && i < CHAIN_COUNT; i++) {
    for (struct ha_entry *entry = ha_load_acquire(&table[i]); entry != NULL; entry = entry->next) {
      visit(entry, arg);
    }
  }
  visit(&overflow_entry, arg);
}
