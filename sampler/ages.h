/* SPDX-License-Identifier: MIT */
/*
 * What is live, by how long it has lived: sums over the live samples for each entry and age.
 *
 * Counters do not know ages, so the samples are walked once, before the rows are visited, and added up in cells, one
 * for each entry and age that occurs. The counters stay what is right: they are split in the proportions that the
 * walk has found, oldest first, and what is left (samples taken during the walk) goes to the youngest. So the rows of
 * an entry add up to its counters exactly, also while other threads go on.
 *
 * One gathering at a time (HA_RANK_PROFILE): it is noted in the entries. Costs 32 bytes for each cell, of which there
 * are at most seven for each entry, and some 40 ns for each sample.
 */
#ifndef HA_SAMPLER_AGES_H
#define HA_SAMPLER_AGES_H

#include "base/array.h"
#include "sampler/mark.h"
#include "sampler/rows.h"

struct ha_ages {
  struct ha_array cells;
  uint32_t now;          /* ticks */
  struct ha_mark mark;   /* only samples taken since */
  bool is_out_of_memory; /* not all samples are in the cells */
};

/* Begins anew. mark: NULL for all samples. */
void ha_ages_begin(struct ha_ages *ages, const struct ha_mark *mark, struct ha_memory memory);

/* A ha_live_sample_fn; ages is a struct ha_ages. */
void ha_ages_add(const struct ha_sample *sample, size_t block_size, void *ages);

/* What the walk has found for the entry: objects and bytes. */
struct ha_counts ha_ages_sum(const struct ha_ages *ages, const struct ha_entry *entry);

/* Visits `row` once for each age, with its share of the entry's live counts as the values at `first` and `first` + 1,
 * and the numbers "request" and "age". All else is as it is given. */
void ha_ages_split(const struct ha_ages *ages, const struct ha_entry *entry, const struct ha_counts *live,
                   struct ha_row *row, unsigned first, ha_row_fn *fn, void *arg);

#endif
