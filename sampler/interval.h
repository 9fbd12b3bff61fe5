/* SPDX-License-Identifier: MIT */
/*
 * When to sample, and how much a sample stands for.
 *
 * A block of S bytes is sampled with probability p = 1 - exp(-S/rate), independently of all others: the chance
 * that a Poisson process of one point per `rate` bytes hits it. This is Go's rule (runtime.MemProfileRate), decided
 * per block. Equal blocks of one size class are therefore hit after a geometric number of objects, which is what
 * the countdown of a size class holds; large blocks are decided one by one. A hit stands for 1/p blocks
 * (Horvitz-Thompson), so sums of weights are unbiased at any rate, for any mix of sizes.
 *
 * The rate may change at any time: a change raises the epoch, and every heap redraws its countdowns when it next
 * looks (the process is memoryless, so a fresh draw is always right). Each sample keeps the weight it was taken with.
 */
#ifndef HA_SAMPLER_INTERVAL_H
#define HA_SAMPLER_INTERVAL_H

#include "base/compiler.h"
#include "base/random.h"

/* Weights are fixed-point numbers, so that adding on allocation and subtracting on free cancel exactly. */
#define HA_WEIGHT_SHIFT 16
#define HA_WEIGHT_ONE ((uint64_t)1 << HA_WEIGHT_SHIFT)

/* A rate above this (1 TiB between samples) is taken as this, so that sums of weights cannot overflow. */
#define HA_RATE_MAX ((int64_t)1 << 40)

/* A countdown that never comes due. */
#define HA_INTERVAL_NEVER INT64_MAX

/* Current rate in bytes: 0 none, 1 every allocation. */
int64_t ha_rate(void);

/* Changes with every change of the rate. */
uint32_t ha_rate_epoch(void);

/* A new epoch without a new rate: heaps take their slow path once. */
void ha_rate_next_epoch(void);

/* Sets the rate (negative: no change) and returns the previous one. Any thread, any time. */
int64_t ha_rate_set(int64_t rate);

/* Blocks of this size that pass unsampled before the next sampled one: >= 0, or HA_INTERVAL_NEVER at rate 0.
 */
int64_t ha_interval_draw(struct ha_random *random, size_t block_size, int64_t rate);

/* Whether one block of this size is sampled; for blocks that have no countdown. */
bool ha_interval_hits(struct ha_random *random, size_t block_size, int64_t rate);

/* So many objects as a weight, or a sum of weights, stands for; rounded. */
HA_INLINE int64_t ha_weight_whole(uint64_t weight) {
  return (int64_t)((weight + HA_WEIGHT_ONE / 2) >> HA_WEIGHT_SHIFT);
}

/* So many bytes, if each object has `size` of them. */
HA_INLINE uint64_t ha_weight_bytes(uint64_t weight, uint64_t size) {
  return (uint64_t)(((unsigned __int128)weight * size) >> HA_WEIGHT_SHIFT);
}

/* 1/p in units of 1/HA_WEIGHT_ONE. rate > 0. */
uint64_t ha_interval_weight(size_t block_size, int64_t rate);

#endif
