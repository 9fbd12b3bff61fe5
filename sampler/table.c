/* SPDX-License-Identifier: MIT */
/*
 * Chains as in stack.c: immutable keys, heads that only grow, no lock, no entry twice. Two entries of one key
 * would still be right (readers add up), so a lost race costs only the entry's memory.
 */
#include "sampler/table.h"

#include "base/atomic.h"
#include "base/region.h"
#include "labels/set.h"
#include "sampler/chains.h"
#include "sampler/interval.h"

static struct ha_region region = HA_REGION_INIT(HA_TABLE_LIMIT);
static struct ha_chains chains;
static struct ha_stack overflow_stack = {.frame_count = 1, .frames = {HA_FRAME_OVERFLOW}};
static struct ha_entry overflow_entry = {.stack = &overflow_stack};

void *ha_table_memory(size_t size) {
  return ha_region_alloc(&region, size);
}

uint64_t ha_table_bytes(void) {
  return ha_region_used(&region) + ha_label_counts().bytes;
}

static uint32_t hash_key(const struct ha_stack *stack, uint32_t size_class, uint32_t label_set) {
  uint64_t hash =
      (stack->hash ^ (uint64_t)size_class << 32 ^ (uint64_t)label_set << 17) * 0x9e3779b97f4a7c15u;
  return (uint32_t)(hash >> 32);
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

/* In the levels below the one that new entries go to. */
static struct ha_entry *find_below(unsigned level, uint32_t hash, const struct ha_stack *stack,
                                   uint32_t size_class, uint32_t label_set) {
  struct ha_entry *entry = NULL;
  for (unsigned below = 0; below < level && entry == NULL; below++) {
    void **head = ha_chains_head(&chains, below, hash, false);
    entry = head != NULL ? find(ha_load_acquire(head), stack, size_class, label_set) : NULL;
  }
  return entry;
}

static struct ha_entry *new_entry(const struct ha_stack *stack, uint32_t size_class, uint32_t label_set,
                                  size_t block_size) {
  struct ha_entry *entry = ha_table_memory(sizeof *entry);
  if (entry != NULL) {
    entry->stack = stack;
    entry->size_class = size_class;
    entry->label_set = label_set;
    entry->block_size = block_size;
  }
  return entry;
}

struct ha_entry *ha_table_entry(const struct ha_stack *stack, uint32_t size_class, uint32_t label_set,
                                size_t block_size) {
  if (stack == NULL) {
    return &overflow_entry;
  }
  uint32_t hash = hash_key(stack, size_class, label_set);
  unsigned level = ha_chains_level(&chains);
  struct ha_entry *entry = find_below(level, hash, stack, size_class, label_set);
  struct ha_entry **head = (struct ha_entry **)ha_chains_head(&chains, level, hash, true);
  if (entry != NULL || head == NULL) {
    return entry != NULL ? entry : &overflow_entry;
  }
  struct ha_entry *first = ha_load_acquire(head);
  entry = find(first, stack, size_class, label_set);
  if (entry != NULL) {
    return entry;
  }
  entry = new_entry(stack, size_class, label_set, block_size);
  if (entry == NULL) {
    return &overflow_entry;
  }
  do {
    struct ha_entry *other = find(first, stack, size_class, label_set);
    if (other != NULL) {
      return other;
    }
    entry->next = first;
    /* Release: the key is written before the head shows it; pairs with the acquire above. */
  } while (!ha_cas_weak_acq_rel(head, &first, entry));
  ha_add_relaxed(&chains.count, 1);
  return entry;
}

static struct ha_counts read_counts(const struct ha_counts *counts, uint64_t block_size) {
  struct ha_counts copy;
  /* Acquire: pairs with the release of the writer's last add, see sample.c. */
  copy.objects = ha_load_acquire(&counts->objects);
  copy.samples = ha_load_relaxed(&counts->samples);
  __atomic_load(&counts->object_variance, &copy.object_variance, __ATOMIC_RELAXED);
  if (block_size != 0) {
    copy.sample_bytes = copy.samples * block_size;
    copy.bytes = ha_weight_bytes(copy.objects, block_size);
    copy.byte_variance = copy.object_variance * (double)block_size * (double)block_size;
  } else {
    copy.sample_bytes = ha_load_relaxed(&counts->sample_bytes);
    copy.bytes = ha_load_relaxed(&counts->bytes);
    __atomic_load(&counts->byte_variance, &copy.byte_variance, __ATOMIC_RELAXED);
  }
  return copy;
}

/* A free that is being counted while we read may be ahead in one field; the difference is never shown
 * negative. */
static uint64_t difference(uint64_t allocated, uint64_t freed) {
  return allocated > freed ? allocated - freed : 0;
}

/* Of what is in use. Without live samples it is 0, not what rounding left. */
static double variance_left(double allocated, double freed, uint64_t live_samples) {
  return live_samples > 0 && allocated > freed ? allocated - freed : 0;
}

struct ha_counts ha_entry_counts(const struct ha_entry *entry, struct ha_counts *ret_live) {
  struct ha_counts freed = read_counts(&entry->freed, entry->block_size);
  struct ha_counts allocated = read_counts(&entry->allocated, entry->block_size);
  uint64_t samples = difference(allocated.samples, freed.samples);
  *ret_live = (struct ha_counts){
      .samples = samples,
      .objects = difference(allocated.objects, freed.objects),
      .object_variance = variance_left(allocated.object_variance, freed.object_variance, samples),
      .sample_bytes = difference(allocated.sample_bytes, freed.sample_bytes),
      .bytes = difference(allocated.bytes, freed.bytes),
      .byte_variance = variance_left(allocated.byte_variance, freed.byte_variance, samples),
  };
  return allocated;
}

struct ha_row ha_entry_row(const struct ha_entry *entry, uint64_t objects, uint64_t bytes) {
  uint64_t whole = (uint64_t)ha_weight_whole(objects);
  return (struct ha_row){
      .frames = entry->stack->frames,
      .frame_count = entry->stack->frame_count,
      .label_set = entry->label_set,
      .block_size = entry->block_size != 0 || whole == 0 ? entry->block_size : bytes / whole,
  };
}

bool ha_table_is_overflow(const struct ha_entry *entry) {
  return entry == &overflow_entry;
}

void ha_table_visit(void (*visit)(struct ha_entry *entry, void *arg), void *arg) {
  for (unsigned level = 0; level < HA_CHAINS_LEVELS; level++) {
    void **heads;
    size_t count = ha_chains_heads(&chains, level, &heads);
    for (size_t i = 0; i < count; i++) {
      for (struct ha_entry *entry = ha_load_acquire(&heads[i]); entry != NULL; entry = entry->next) {
        visit(entry, arg);
      }
    }
  }
  visit(&overflow_entry, arg);
}
