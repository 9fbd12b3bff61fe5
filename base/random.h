/* SPDX-License-Identifier: MIT */
/*
 * Random numbers for sampling: one xorshift64* generator per heap, the two functions of the exponential
 * distribution that sampling needs, and the root for its errors, without libm (which would be one more library in
 * every process).
 *
 * Not for secrets.
 */
#ifndef HA_BASE_RANDOM_H
#define HA_BASE_RANDOM_H

#include "base/compiler.h"

struct ha_random {
  uint64_t state; /* never 0; owner thread only */
};

/* Distinct seeds give unrelated streams (splitmix64 finaliser). */
void ha_random_seed(struct ha_random *random, uint64_t seed);

/* A seed that differs between processes, threads and calls. */
uint64_t ha_random_fresh_seed(void);

uint64_t ha_random_next(struct ha_random *random);

/* A draw from the exponential distribution with mean 1; always > 0. Resolution 2^-53. */
double ha_random_exponential(struct ha_random *random);

/* Natural logarithm of a normal x > 0; relative error below 1e-13. */
double ha_log_natural(double x);

/* 1 - exp(-x) for x >= 0; relative error below 1e-13. */
double ha_one_minus_exp(double x);

/* The square root of x, 0 for x <= 0; relative error below 1e-15. */
double ha_square_root(double x);

#endif
