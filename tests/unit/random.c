/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: samples drawn with the wrong probability, so that every profile is off by a
 * constant factor, and threads or processes that all sample the same allocations.
 */
#include <float.h>
#include <math.h>

#include "base/random.h"
#include "tests/test.h"

#define POINTS 100000
#define DRAWS 1000000
#define SIGMAS 4.0
#define RELATIVE_ERROR 1e-13
#define SEED 20240607

static double relative_error(double actual, double expected) {
  return expected == 0 ? fabs(actual) : fabs(actual - expected) / fabs(expected);
}

static void check_log(double x) {
  CHECK(relative_error(ha_log_natural(x), log(x)) < RELATIVE_ERROR, "log(%.17g) is %.17g, libm has %.17g", x,
        ha_log_natural(x), log(x));
}

static void check_one_minus_exp(double x) {
  CHECK(relative_error(ha_one_minus_exp(x), -expm1(-x)) < RELATIVE_ERROR,
        "1-exp(-%.17g) is %.17g, libm has %.17g", x, ha_one_minus_exp(x), -expm1(-x));
}

TEST(log_agrees_with_libm_over_all_magnitudes) {
  for (int i = 0; i < POINTS; i++) {
    check_log(ldexp(1.0 + (double)i / POINTS, (int)(i * 2045LL / POINTS) - 1022));
  }
}

TEST(log_agrees_with_libm_where_the_draw_uses_it) {
  uint64_t state = SEED;
  for (int i = 0; i < POINTS; i++) {
    check_log((double)((test_random(&state) >> 11) + 1) * 0x1p-53);
  }
}

TEST(log_agrees_with_libm_at_extremes) {
  const double points[] = {
      DBL_MIN, 0x1p-53, nextafter(1, 0), 1, nextafter(1, 2), M_SQRT1_2, nextafter(M_SQRT1_2, 0),
      0.5,     2,       DBL_MAX};
  for (unsigned i = 0; i < HA_ARRAY_LEN(points); i++) {
    check_log(points[i]);
  }
}

TEST(one_minus_exp_agrees_with_libm_over_all_magnitudes) {
  for (int i = 0; i < POINTS; i++) {
    check_one_minus_exp(ldexp(1.0 + (double)i / POINTS, (int)(i * 70LL / POINTS) - 60));
  }
}

TEST(one_minus_exp_agrees_with_libm_at_extremes) {
  const double points[] = {0, 0x1p-1000, 0x1p-53, 0.25, nextafter(0.25, 1), 1, 36, 37, 744, 745, 746, 1e300};
  for (unsigned i = 0; i < HA_ARRAY_LEN(points); i++) {
    check_one_minus_exp(points[i]);
  }
}

/* Mean and variance of an exponential variable are 1; the standard errors are 1/sqrt(n) and sqrt(8/n). */
TEST(exponential_draws_have_mean_and_variance_one) {
  struct ha_random random;
  ha_random_seed(&random, SEED);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < DRAWS; i++) {
    double draw = ha_random_exponential(&random);
    CHECK(draw > 0, "draw %d is %g", i, draw);
    sum += draw;
    squares += (draw - 1) * (draw - 1);
  }
  double mean_error = (sum / DRAWS - 1) / sqrt(1.0 / DRAWS);
  double variance_error = (squares / DRAWS - 1) / sqrt(8.0 / DRAWS);
  test_note("seed %d n %d: mean off by %.2f sigma, variance by %.2f", SEED, DRAWS, mean_error,
            variance_error);
  CHECK(fabs(mean_error) < SIGMAS, "mean is off by %.2f sigma", mean_error);
  CHECK(fabs(variance_error) < SIGMAS, "variance is off by %.2f sigma", variance_error);
}

/* Each of the 64 bits is a fair coin: sigma of the number of ones is sqrt(n)/2. 4.5 sigma, since 64 are
 * looked at. */
TEST(every_bit_of_the_generator_is_fair) {
  struct ha_random random;
  ha_random_seed(&random, SEED);
  int ones[64] = {0};
  for (int i = 0; i < DRAWS; i++) {
    uint64_t value = ha_random_next(&random);
    for (int bit = 0; bit < 64; bit++) {
      ones[bit] += (int)(value >> bit & 1);
    }
  }
  for (int bit = 0; bit < 64; bit++) {
    double error = (ones[bit] - DRAWS / 2.0) / (sqrt(DRAWS) / 2);
    CHECK(fabs(error) < 4.5, "bit %d is off by %.2f sigma", bit, error);
  }
}

TEST(neighbouring_seeds_give_different_streams) {
  struct ha_random first, second;
  ha_random_seed(&first, SEED);
  ha_random_seed(&second, SEED + 1);
  int equal_bits = 0;
  for (int i = 0; i < 1000; i++) {
    equal_bits += 64 - __builtin_popcountll(ha_random_next(&first) ^ ha_random_next(&second));
  }
  double error = (equal_bits - 32000.0) / sqrt(64000 / 4.0);
  CHECK(fabs(error) < SIGMAS, "equal bits are off by %.2f sigma", error);
}

TEST(any_seed_gives_a_live_generator) {
  for (uint64_t seed = 0; seed < 1000; seed++) {
    struct ha_random random;
    ha_random_seed(&random, seed - 500);
    CHECK(random.state != 0 && ha_random_next(&random) != ha_random_next(&random), "seed %d is stuck",
          (int)seed - 500);
  }
}

TEST(fresh_seeds_differ) {
  uint64_t seeds[1000];
  for (int i = 0; i < 1000; i++) {
    seeds[i] = ha_random_fresh_seed();
    for (int k = 0; k < i; k++) {
      CHECK(seeds[k] != seeds[i], "seed %d is seed %d again", i, k);
    }
  }
}

/* Over all magnitudes that a variance can have, and at both ends of a factor of four, where the first guess is worst. */
TEST(square_roots_are_those_of_libm) {
  for (double x = 1e-300; x < 1e300; x *= 1.37) {
    double error = fabs(ha_square_root(x) / sqrt(x) - 1);
    CHECK(error < 1e-15, "the root of %g is off by %g", x, error);
  }
  CHECK(ha_square_root(0) == 0 && ha_square_root(-1) == 0 && ha_square_root(NAN) == 0, "no root is 0");
}
