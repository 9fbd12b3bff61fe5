/* SPDX-License-Identifier: MIT */
/*
 * xorshift64* (Marsaglia 2003; Vigna 2016), series for log and 1 - exp(-x), Newton's steps for the root.
 *
 * log: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m-1)/(m+1)); |argument| <= 0.1716, so
 * the term after the last one kept is below 1e-15. 1 - exp(-x): halve x until the Taylor series converges
 * fast, then undo each halving with f(2x) = f(x) (2 - f(x)), which loses no digits.
 */
#include "base/random.h"

#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#include "base/atomic.h"

#define LN2 0.693147180559945309417
#define SQRT_HALF 0.707106781186547524401
#define TERMS 12 /* of both series: 0.1716^25 / 25 < 1e-20, 0.25^13 / 13! < 1e-17 */
#define TAYLOR_RANGE 0.25
#define NEWTON_STEPS 4      /* errors of 7e-2, 3e-3, 3e-6, 5e-12, 1e-23 */
#define EXP_UNDERFLOW 745.0 /* exp(-745) is 0 in double */

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void ha_random_seed(struct ha_random *random, uint64_t seed) {
  uint64_t state = mix(seed + 0x9e3779b97f4a7c15u);
  random->state = state != 0 ? state : 1;
}

uint64_t ha_random_fresh_seed(void) {
  static uint64_t counter;
  uint64_t seed = 0;
  const void *kernel_bytes = (const void *)getauxval(AT_RANDOM);
  if (kernel_bytes != NULL) {
    memcpy(&seed, kernel_bytes, sizeof seed);
  }
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return mix(seed ^ (uint64_t)now.tv_nsec ^ ((uint64_t)now.tv_sec << 32)) +
         mix(ha_add_relaxed(&counter, 1) + 1);
}

uint64_t ha_random_next(struct ha_random *random) {
  uint64_t x = random->state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  random->state = x;
  return x * 0x2545f4914f6cdd1du;
}

double ha_random_exponential(struct ha_random *random) {
  /* 53 random bits, plus one so that the uniform draw is in (0, 1]; 1 gives a distance of 0, made positive.
   */
  double uniform = (double)((ha_random_next(random) >> 11) + 1) * 0x1p-53;
  double distance = -ha_log_natural(uniform);
  return distance > 0 ? distance : 0x1p-54;
}

/* sum of coefficients[i] * x^i. By pairs (Estrin), so that the products do not wait for each other. */
static double polynomial(const double coefficients[TERMS], double x) {
  const double *c = coefficients;
  double x2 = x * x;
  double x4 = x2 * x2;
  double low = (c[0] + c[1] * x) + (c[2] + c[3] * x) * x2;
  double middle = (c[4] + c[5] * x) + (c[6] + c[7] * x) * x2;
  double high = (c[8] + c[9] * x) + (c[10] + c[11] * x) * x2;
  return low + (middle + high * x4) * x4;
}

double ha_log_natural(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int exponent = (int)((bits >> 52) & 0x7ff) - 1022;
  bits = (bits & 0x000fffffffffffffu) | 0x3fe0000000000000u; /* mantissa in [1/2, 1) */
  double mantissa;
  memcpy(&mantissa, &bits, sizeof mantissa);
  if (mantissa < SQRT_HALF) {
    mantissa *= 2;
    exponent--;
  }
  double t = (mantissa - 1) / (mantissa + 1);
  static const double odd_reciprocals[TERMS] = {1.0,      1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11,
                                                1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23};
  return 2 * t * polynomial(odd_reciprocals, t * t) + exponent * LN2;
}

double ha_one_minus_exp(double x) {
  if (x >= EXP_UNDERFLOW) {
    return 1;
  }
  int halvings = 0;
  while (x > TAYLOR_RANGE) {
    x /= 2;
    halvings++;
  }
  /* x - x^2/2! + x^3/3! - ... */
  static const double factorial_reciprocals[TERMS] = {
      1.0,        -1.0 / 2,     1.0 / 6,      -1.0 / 24,      1.0 / 120,      -1.0 / 720,
      1.0 / 5040, -1.0 / 40320, 1.0 / 362880, -1.0 / 3628800, 1.0 / 39916800, -1.0 / 479001600};
  double sum = x * polynomial(factorial_reciprocals, x);
  for (; halvings > 0; halvings--) {
    sum = sum * (2 - sum);
  }
  return sum;
}

double ha_square_root(double x) {
  if (!(x > 0)) {
    return 0;
  }
  /* Halving the exponent gives the root within 7 %. */
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = (bits >> 1) + ((uint64_t)1023 << 51);
  double root;
  memcpy(&root, &bits, sizeof root);
  for (int i = 0; i < NEWTON_STEPS; i++) {
    root = (root + x / root) / 2;
  }
  return root;
}
