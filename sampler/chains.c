/* SPDX-License-Identifier: MIT */
/*
 * Three sizes: one OS page of heads, sixteen, and 128. A level is left for the next when its chains have two nodes on
 * average.
 */
#include "sampler/chains.h"

#include "base/atomic.h"
#include "sampler/table.h"

static const unsigned shifts[HA_CHAINS_LEVELS] = {9, 13, 16};

#define NODES_PER_HEAD 2
#define HASH_BITS 32

unsigned ha_chains_level(const struct ha_chains *chains) {
  uint64_t count = ha_load_relaxed(&chains->count);
  unsigned level = 0;
  while (level + 1 < HA_CHAINS_LEVELS && count >= (uint64_t)NODES_PER_HEAD << shifts[level]) {
    level++;
  }
  return level;
}

static void **create(struct ha_chains *chains, unsigned level) {
  void **mine = ha_table_memory(sizeof *mine << shifts[level]);
  void **none = NULL;
  if (mine == NULL || ha_cas_strong_acq_rel(&chains->heads[level], &none, mine)) {
    return mine;
  }
  return none;
}

void **ha_chains_head(struct ha_chains *chains, unsigned level, uint32_t hash, bool may_create) {
  void **heads = ha_load_acquire(&chains->heads[level]);
  if (heads == NULL && may_create) {
    heads = create(chains, level);
  }
  return heads != NULL ? &heads[hash >> (HASH_BITS - shifts[level])] : NULL;
}

size_t ha_chains_heads(const struct ha_chains *chains, unsigned level, void ***ret_heads) {
  *ret_heads = ha_load_acquire(&chains->heads[level]);
  return *ret_heads != NULL ? (size_t)1 << shifts[level] : 0;
}
