/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a leak shown at half its size, or one kind of block shown and another not,
 * because draws and weights do not belong together at some size or rate.
 */
#include <math.h>

#include "sampler/interval.h"
#include "tests/test.h"

#define SEED 20240608
#define SIGMAS 4.0
#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)

static const int64_t rates[] = {4 * KIB, 64 * KIB, 512 * KIB, 2 * MIB};

static double probability(size_t size, int64_t rate) {
  return -expm1(-(double)size / (double)rate);
}

/* A geometric variable (failures before the first hit): mean q/p, variance q/p^2, and the variance of the
 * sample variance is variance^2 (8 + p^2/q) / n. */
static void check_geometric(size_t size, int64_t rate, int draws) {
  struct ha_random random;
  ha_random_seed(&random, SEED);
  double p = probability(size, rate);
  double q = 1 - p;
  double mean = q / p;
  double variance = q / (p * p);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < draws; i++) {
    double draw = (double)ha_interval_draw(&random, size, rate);
    sum += draw - mean;
    squares += (draw - mean) * (draw - mean);
  }
  double mean_error = sum / draws / sqrt(variance / draws);
  double variance_error = (squares / draws - variance) / (variance * sqrt((8 + p * p / q) / draws));
  CHECK(fabs(mean_error) < SIGMAS, "size %zu rate %ld n %d: mean off by %.2f sigma", size, (long)rate, draws,
        mean_error);
  CHECK(fabs(variance_error) < SIGMAS, "size %zu rate %ld n %d: variance off by %.2f sigma", size, (long)rate,
        draws, variance_error);
}

TEST(draws_are_geometric_with_the_poisson_probability) {
  test_note("seed %d n 200000 per size and rate", SEED);
  for (unsigned i = 0; i < HA_ARRAY_LEN(rates); i++) {
    for (size_t size = 16; size <= (size_t)4 * MIB && (double)size / (double)rates[i] < 5; size *= 4) {
      check_geometric(size, rates[i], 200000);
    }
  }
}

TEST(weight_is_one_over_the_probability) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(rates); i++) {
    for (size_t size = 16; size <= (size_t)8 * MIB; size += size / 3 + 16) {
      double weight = (double)ha_interval_weight(size, rates[i]);
      double exact = (double)HA_WEIGHT_ONE / probability(size, rates[i]);
      CHECK(fabs(weight - exact) <= 0.51, "size %zu rate %ld: weight %.1f, exact %.4f", size, (long)rates[i],
            weight, exact);
    }
  }
}

TEST(weight_is_one_when_all_are_sampled) {
  CHECK_EQ(ha_interval_weight(16, 1), HA_WEIGHT_ONE);
  CHECK_EQ(ha_interval_weight(64 * MIB, 1), HA_WEIGHT_ONE);
  CHECK_EQ(ha_interval_weight(64 * MIB, 4096), HA_WEIGHT_ONE);
}

/* n blocks are estimated by a sum of weights with variance n q/p; rounding weights adds at most n/2^17. */
static void check_estimate(size_t size, int64_t rate, double estimate, double blocks, const char *how) {
  double p = probability(size, rate);
  double sigma = sqrt(blocks * (1 - p) / p);
  double tolerance = SIGMAS * sigma + blocks / (2 * (double)HA_WEIGHT_ONE);
  CHECK(fabs(estimate - blocks) <= tolerance, "%s, size %zu rate %ld: %.0f for %.0f blocks, sigma %.1f", how,
        size, (long)rate, estimate, blocks, sigma);
}

/* Plays the countdown of a size class over as many blocks as give some 20,000 samples. */
static void count_down(size_t size, int64_t rate) {
  struct ha_random random;
  ha_random_seed(&random, SEED + size);
  int64_t blocks = (int64_t)(20000 / probability(size, rate));
  double weight = (double)ha_interval_weight(size, rate) / (double)HA_WEIGHT_ONE;
  double estimate = 0;
  for (int64_t at = ha_interval_draw(&random, size, rate); at < blocks;
       at += 1 + ha_interval_draw(&random, size, rate)) {
    estimate += weight;
  }
  check_estimate(size, rate, estimate, (double)blocks, "countdown");
}

TEST(countdowns_estimate_every_size_without_bias) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(rates); i++) {
    for (size_t size = 16; size <= (size_t)8 * MIB; size = size < 128 ? size + 16 : size * 2) {
      count_down(size, rates[i]);
    }
  }
}

TEST(single_decisions_estimate_every_large_size_without_bias) {
  const int blocks = 50000;
  for (unsigned i = 0; i < HA_ARRAY_LEN(rates); i++) {
    for (size_t size = 132 * 1024; size <= (size_t)8 * MIB; size *= 2) {
      struct ha_random random;
      ha_random_seed(&random, SEED + size);
      int hits = 0;
      for (int k = 0; k < blocks; k++) {
        hits += ha_interval_hits(&random, size, rates[i]);
      }
      double weight = (double)ha_interval_weight(size, rates[i]) / (double)HA_WEIGHT_ONE;
      check_estimate(size, rates[i], hits * weight, blocks, "decision");
    }
  }
}

TEST(rate_0_never_samples_and_rate_1_always) {
  struct ha_random random;
  ha_random_seed(&random, SEED);
  for (size_t size = 16; size <= (size_t)64 * MIB; size *= 2) {
    CHECK_EQ(ha_interval_draw(&random, size, 0), HA_INTERVAL_NEVER);
    CHECK_EQ(ha_interval_draw(&random, size, 1), (int64_t)0);
    CHECK(!ha_interval_hits(&random, size, 0), "a hit at rate 0, size %zu", size);
    CHECK(ha_interval_hits(&random, size, 1), "a miss at rate 1, size %zu", size);
  }
}

TEST(the_largest_rate_neither_overflows_nor_samples_much) {
  struct ha_random random;
  ha_random_seed(&random, SEED);
  for (int i = 0; i < 100000; i++) {
    int64_t draw = ha_interval_draw(&random, 16, HA_RATE_MAX);
    CHECK(draw >= 0 && draw < (int64_t)1 << 46, "draw %ld", (long)draw);
  }
  CHECK(ha_interval_weight(16, HA_RATE_MAX) < (uint64_t)1 << 54, "the weight leaves no room for sums");
}

TEST(setting_the_rate_returns_the_last_one_and_starts_an_epoch) {
  uint32_t epoch = ha_rate_epoch();
  ha_rate_set(4096);
  CHECK_EQ(ha_rate_set(0), (int64_t)4096);
  CHECK_EQ(ha_rate(), (int64_t)0);
  CHECK(ha_rate_epoch() != epoch, "the epoch is still %u", epoch);
}

TEST(a_negative_rate_only_reads) {
  ha_rate_set(4096);
  uint32_t epoch = ha_rate_epoch();
  CHECK_EQ(ha_rate_set(-1), (int64_t)4096);
  CHECK_EQ(ha_rate_set(INT64_MIN), (int64_t)4096);
  CHECK_EQ(ha_rate(), (int64_t)4096);
  CHECK_EQ(ha_rate_epoch(), epoch);
}

TEST(a_rate_above_the_limit_is_the_limit) {
  ha_rate_set(INT64_MAX);
  CHECK_EQ(ha_rate(), HA_RATE_MAX);
}
