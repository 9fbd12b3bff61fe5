/* SPDX-License-Identifier: MIT */
/*
 * The heads of hash chains, in levels: few at first, more once there is more to hold.
 *
 * A sparse table costs an OS page for every entry; most programs have some hundred stacks, some have a hundred
 * thousand. New nodes go to the highest level in use, lookups go through all levels. Nodes are immutable and chains
 * only grow at their heads, so there is no lock. Memory comes from the region of the sampler's tables.
 */
#ifndef HA_SAMPLER_CHAINS_H
#define HA_SAMPLER_CHAINS_H

#include "base/compiler.h"

#define HA_CHAINS_LEVELS 3

struct ha_chains {
  void **heads[HA_CHAINS_LEVELS]; /* atomic; each set once */
  uint64_t count;                 /* atomic; nodes in all chains */
};

/* The level that new nodes belong to now. */
unsigned ha_chains_level(const struct ha_chains *chains);

/* The head for a hash in a level; NULL if the level has no memory. Creates the level if may_create. */
void **ha_chains_head(struct ha_chains *chains, unsigned level, uint32_t hash, bool may_create);

/* Heads of a level: 0 if it is not in use. For walks over all nodes. */
size_t ha_chains_heads(const struct ha_chains *chains, unsigned level, void ***ret_heads);

#endif
