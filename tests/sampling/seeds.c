/* SPDX-License-Identifier: MIT */
#include "tests/sampling/seeds.h"

#include "sampler/interval.h"
#include "tests/test.h"

static uint64_t current_seed; /* atomic */
static double planted_share;
static size_t planted_size;

/* Called in place of ha_random_fresh_seed and ha_interval_weight. */
uint64_t __wrap_ha_random_fresh_seed(void);
uint64_t __wrap_ha_interval_weight(size_t block_size, int64_t rate);

uint64_t __wrap_ha_random_fresh_seed(void) {
  uint64_t number = __atomic_add_fetch(&current_seed, 1, __ATOMIC_RELAXED);
  return test_random(&number);
}

uint64_t __wrap_ha_interval_weight(size_t block_size, int64_t rate) {
  uint64_t weight = ha_interval_weight(block_size, rate);
  bool is_planted = planted_size == 0 || planted_size == block_size;
  return is_planted ? weight + (uint64_t)((double)weight * planted_share) : weight;
}

void seeds_set(uint64_t seed) {
  __atomic_store_n(&current_seed, test_random(&seed), __ATOMIC_RELAXED);
}

void seeds_plant_bias(double share, size_t block_size) {
  planted_share = share;
  planted_size = block_size;
}
