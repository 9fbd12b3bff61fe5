/* SPDX-License-Identifier: MIT */
/*
 * Draws and weights. All of it is arithmetic on the caller's generator; the shared state is two words.
 */
#include "sampler/interval.h"

#include "base/atomic.h"

static int64_t current_rate; /* atomic; written with the epoch below it, which readers check first */
static uint32_t epoch = 1;   /* atomic; 0 is kept for "never looked" */

int64_t ha_rate(void) {
  return ha_load_relaxed(&current_rate);
}

uint32_t ha_rate_epoch(void) {
  /* Pairs with the release in ha_rate_set: who sees the new epoch sees the new rate. */
  return ha_load_acquire(&epoch);
}

void ha_rate_next_epoch(void) {
  __atomic_fetch_add(&epoch, 1, __ATOMIC_RELEASE);
}

int64_t ha_rate_set(int64_t rate) {
  if (rate < 0) {
    return ha_rate();
  }
  int64_t previous = ha_exchange_acq_rel(&current_rate, rate < HA_RATE_MAX ? rate : HA_RATE_MAX);
  ha_rate_next_epoch();
  return previous;
}

int64_t ha_interval_draw(struct ha_random *random, size_t block_size, int64_t rate) {
  if (rate <= 1) {
    return rate == 1 ? 0 : HA_INTERVAL_NEVER;
  }
  /* The first point of the process lies in the floor(distance / size)-th block. */
  double blocks = ha_random_exponential(random) * (double)rate / (double)block_size;
  return (int64_t)blocks; /* below 37 * 2^40: no overflow */
}

bool ha_interval_hits(struct ha_random *random, size_t block_size, int64_t rate) {
  if (rate <= 1) {
    return rate == 1;
  }
  return ha_random_exponential(random) * (double)rate < (double)block_size;
}

uint64_t ha_interval_weight(size_t block_size, int64_t rate) {
  if (rate <= 1) {
    return HA_WEIGHT_ONE;
  }
  double probability = ha_one_minus_exp((double)block_size / (double)rate);
  return (uint64_t)((double)HA_WEIGHT_ONE / probability + 0.5);
}
