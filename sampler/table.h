/* SPDX-License-Identifier: MIT */
/*
 * The sample table: what was allocated and freed, per (stack, size class, label set).
 *
 * An entry is created at the first sample with its key and lives as long as the process; its counters only
 * rise. In use = allocated - freed. Entries and stacks share one region, which bounds them; when it is full,
 * samples are counted on the overflow entry, whose stack is the one frame "[overflow]", and which shows in
 * every profile.
 *
 * Sizes: objects are sums of weights (fixed point, HA_WEIGHT_SHIFT). Where all blocks of an entry have one size, bytes
 * follow from objects; elsewhere they are sums of weight times block size, rounded per sample. Either way a free takes
 * away exactly what its allocation added.
 *
 * Variances: blocks are sampled independently, so a sum of weights w = 1/p has the variance sum of (1 - p)/p over all
 * blocks, which the sum of (1 - p)/p^2 = w(w - 1) over the sampled ones estimates without bias. It is kept beside the
 * weights, one atomic add per sample, because it does not follow from them when the rate has changed. It is a double,
 * since the square of a large weight has no room in a word; at a constant rate a free still takes away what its
 * allocation added, else rounding leaves some 2^-53 of the largest sum behind.
 */
#ifndef HA_SAMPLER_TABLE_H
#define HA_SAMPLER_TABLE_H

#include "base/compiler.h"
#include "sampler/rows.h"
#include "sampler/stack.h"

/* Reserved address space for stacks and entries; about 150,000 stacks of 30 frames. Resident as it is used.
 */
#define HA_TABLE_LIMIT ((size_t)64 * 1024 * 1024)

/* One direction (allocated or freed). Atomic, relaxed: written by any thread when it samples or frees a
 * sample. */
struct ha_counts {
  uint64_t samples;       /* sampled blocks */
  uint64_t objects;       /* sum of weights */
  double object_variance; /* sum of w(w - 1) */
  uint64_t sample_bytes;  /* sum of block sizes; as the next two, only counted where sizes differ */
  uint64_t bytes;         /* sum of weight * block size */
  double byte_variance;   /* sum of block size squared * w(w - 1) */
};

/* What an entry had in use at the peak, see peak.h. */
struct ha_peak_copy {
  uint64_t height;  /* atomic: of the peak that this is a copy of */
  uint64_t objects; /* sum of weights */
  uint64_t bytes;
};

struct ha_entry {
  struct ha_entry *next; /* in its hash chain; immutable once published */
  const struct ha_stack *stack;
  uint32_t size_class; /* sizes of one class differ by less than 12.5 % */
  uint32_t label_set;
  uint64_t block_size; /* of every block counted here; 0: they differ. Immutable once published */
  struct ha_counts allocated;
  struct ha_counts freed;
  struct ha_peak_copy at_peak;
  uint64_t *lifetimes; /* atomic; NULL until a sample is freed, see lifetimes.h */
  struct {
    uint64_t objects;
    uint64_t bytes;
  } reported;        /* HA_RANK_PROFILE: of allocated, by the last delta_heap */
  uint32_t copier;   /* atomic: who is copying to at_peak; 0: nobody */
  uint32_t gathered; /* HA_RANK_PROFILE: what was found about its live samples, see ages.c */
};

/* The entry of a key; the overflow entry when there is no room. stack NULL means overflow. block_size: what all blocks
 * of the class have, 0 if they differ. Lock-free. */
struct ha_entry *ha_table_entry(const struct ha_stack *stack, uint32_t size_class, uint32_t label_set,
                                size_t block_size);

/* What was allocated, and what of it is in use. Each direction is read once, freed before allocated, so that
 * never more is freed than was allocated however busy the process is. */
struct ha_counts ha_entry_counts(const struct ha_entry *entry, struct ha_counts *ret_live);

/* A row of the entry without values. Where sizes differ its block size is the mean: objects is a sum of weights. */
struct ha_row ha_entry_row(const struct ha_entry *entry, uint64_t objects, uint64_t bytes);

bool ha_table_is_overflow(const struct ha_entry *entry);

/* Calls visit for every entry that exists at some time during the call, the overflow entry last. No lock. */
void ha_table_visit(void (*visit)(struct ha_entry *entry, void *arg), void *arg);

/* Zeroed memory from the region of the sampler's tables, or NULL. */
void *ha_table_memory(size_t size);

/* Of stacks, entries and label sets. */
uint64_t ha_table_bytes(void);

#endif
