/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: an error bar that is too short, so that chance passes for a leak, or too long, so that
 * a leak passes for chance; one that is right until the rate changes; memory that is gone and still has an error.
 *
 * A population of blocks whose sizes are known is sampled RUNS times, each time with other draws, the way the
 * allocator does it. Over the runs, the stated variance must be on average what theory says, sum of S^2 (1-p)/p; and
 * so must be the spread of the estimates. Tolerances, in standard errors over RUNS = n runs: the mean of the stated
 * variances has their own spread over sqrt(n); a sample variance has the relative error sqrt((2 + k)/n), k being the
 * excess kurtosis, which for a sum of some hundred independent terms is below 0.1; the share of intervals that cover
 * the truth has sqrt(c (1 - c)/n). All are compared at SIGMAS.
 */
#include <math.h>

#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/sample.h"
#include "sampler/table.h"
#include "tests/test.h"

#define SEED 20261121
#define RUNS 4000
#define SIGMAS 4.5 /* 30 comparisons, chosen once: all pass in 9,998 of 10,000 seeds */
#define KURTOSIS 0.1
#define SAMPLES_MAX 20000
#define KIB ((size_t)1024)

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

/* Equal blocks that one site allocates at one rate, and how many of them it frees. */
struct group {
  int64_t blocks;
  int64_t freed;
  size_t size;
  int64_t rate;
  uint32_t size_class;
  bool is_mixed; /* sizes differ within the class */
};

struct moments {
  double sum, squares;
};

static struct ha_sample samples[SAMPLES_MAX];
static size_t sizes[SAMPLES_MAX];
static struct ha_random random_state;

static const struct ha_stack *one_stack(void) {
  const uintptr_t frames[2] = {0x400010, 0x500000};
  return ha_stack_intern(frames, 2);
}

static void retire_all(int count) {
  for (int i = 0; i < count; i++) {
    ha_sample_retire(&samples[i], NULL, sizes[i]);
  }
}

/* Samples the group's blocks; which of them are freed has nothing to do with which are sampled. Live samples go behind
 * the first `count`; returns how many there are then. */
static int sample_group(const struct group *group, int count) {
  struct ha_entry *entry =
      ha_table_entry(one_stack(), group->size_class, 0, group->is_mixed ? 0 : group->size);
  for (int64_t at = ha_interval_draw(&random_state, group->size, group->rate); at < group->blocks;
       at += 1 + ha_interval_draw(&random_state, group->size, group->rate)) {
    CHECK(count < SAMPLES_MAX, "too many samples");
    ha_sample_record(&samples[count], entry, group->size, group->size, group->rate);
    sizes[count] = group->size;
    if (at < group->freed) {
      ha_sample_retire(&samples[count], NULL, group->size);
    } else {
      count++;
    }
  }
  return count;
}

static void add(struct moments *moments, double value) {
  moments->sum += value;
  moments->squares += value * value;
}

static double mean(const struct moments *moments) {
  return moments->sum / RUNS;
}

static double variance(const struct moments *moments) {
  return (moments->squares - moments->sum * moments->sum / RUNS) / (RUNS - 1);
}

struct truth {
  double value, variance;
};

static struct truth truth_of(const struct group *groups, unsigned count, bool in_use, bool bytes) {
  struct truth truth = {0, 0};
  for (unsigned i = 0; i < count; i++) {
    double p = groups[i].rate > 1 ? -expm1(-(double)groups[i].size / (double)groups[i].rate) : 1;
    double blocks = (double)(groups[i].blocks - (in_use ? groups[i].freed : 0));
    double unit = bytes ? (double)groups[i].size : 1;
    truth.value += blocks * unit;
    truth.variance += blocks * unit * unit * (1 - p) / p;
  }
  return truth;
}

/* Of one of the four values, over the runs. */
struct observed {
  struct moments deviation; /* estimate - truth, in true standard errors */
  struct moments stated;    /* stated variance / true variance */
  int covered;
};

static void observe(struct observed *observed, const struct truth *truth, double value, double stated) {
  double deviation = value - truth->value;
  add(&observed->deviation, deviation / sqrt(truth->variance));
  add(&observed->stated, stated / truth->variance);
  observed->covered += fabs(deviation) <= 1.959964 * sqrt(stated);
}

static void judge(const char *what, int value, const struct observed *observed) {
  double stated_error = (mean(&observed->stated) - 1) / sqrt(variance(&observed->stated) / RUNS);
  double spread_error = (variance(&observed->deviation) - 1) / sqrt((2 + KURTOSIS) / RUNS);
  double covered = (double)observed->covered / RUNS;
  test_note("%s, value %d: stated variance %.4f of the true one (%.1f sigma), spread %.4f (%.1f sigma), 95 "
            "%% covers %.1f %%",
            what, value, mean(&observed->stated), stated_error, variance(&observed->deviation), spread_error,
            covered * 100);
  CHECK(fabs(stated_error) < SIGMAS, "%s, value %d: the stated variance is %.2f sigma off", what, value,
        stated_error);
  CHECK(fabs(spread_error) < SIGMAS, "%s, value %d: the spread is %.2f sigma off", what, value, spread_error);
  CHECK(covered > 0.93 && covered < 0.97, "%s, value %d: 95 %% covers %.1f %%", what, value, covered * 100);
}

static void check_groups(const char *what, const struct group *groups, unsigned count) {
  struct observed observed[HA_ROW_VALUES_MAX];
  struct truth truths[HA_ROW_VALUES_MAX];
  memset(observed, 0, sizeof observed);
  for (int value = 0; value < HA_ROW_VALUES_MAX; value++) {
    truths[value] = truth_of(groups, count, value >= INUSE_OBJECTS, value % 2 == 1);
  }
  ha_random_seed(&random_state, SEED);
  test_note("%s: seed %d, n %d runs", what, SEED, RUNS);
  struct ha_heap_totals before = ha_heap_totals();
  for (int run = 0; run < RUNS; run++) {
    int live = 0;
    for (unsigned i = 0; i < count; i++) {
      live = sample_group(&groups[i], live);
    }
    struct ha_heap_totals after = ha_heap_totals();
    for (int value = 0; value < HA_ROW_VALUES_MAX; value++) {
      observe(&observed[value], &truths[value], (double)(after.values[value] - before.values[value]),
              after.variances[value] - before.variances[value]);
    }
    retire_all(live);
    before = ha_heap_totals();
  }
  CHECK_EQ(before.values[INUSE_SPACE], (int64_t)0);
  CHECK(before.variances[INUSE_SPACE] == 0 && before.variances[INUSE_OBJECTS] == 0,
        "nothing is in use, with a standard error of %g bytes", sqrt(before.variances[INUSE_SPACE]));
  for (int value = 0; value < HA_ROW_VALUES_MAX; value++) {
    judge(what, value, &observed[value]);
  }
}

TEST(small_blocks_at_one_rate) {
  const struct group groups[] = {{6000000, 2000000, 48, 512 * KIB, 3, false}};
  check_groups("48 bytes", groups, 1);
}

/* One entry: from its sum of weights and number of samples alone, the variance would come out too small. */
TEST(one_site_under_three_rates) {
  const struct group groups[] = {{200000, 50000, 1024, 512 * KIB, 30, false},
                                 {300000, 100000, 1024, 64 * KIB, 30, false},
                                 {10000, 5000, 1024, 4 * KIB, 30, false},
                                 {1000, 500, 1024, 1, 30, false}};
  check_groups("three rates", groups, 4);
}

/* Large blocks of several sizes share an entry; p is between 0.2 and 0.9. */
TEST(large_blocks_of_mixed_sizes) {
  const struct group groups[] = {{500, 100, 132 * KIB, 512 * KIB, 90, true},
                                 {500, 200, 148 * KIB, 512 * KIB, 90, true},
                                 {300, 0, 1200 * KIB, 512 * KIB, 110, true},
                                 {400, 50, 136 * KIB, 128 * KIB, 90, true}};
  check_groups("large blocks", groups, 4);
}

TEST(all_kinds_together) {
  const struct group groups[] = {{2000000, 1000000, 64, 512 * KIB, 4, false},
                                 {20000, 9000, 8192, 512 * KIB, 50, false},
                                 {600, 200, 300 * KIB, 512 * KIB, 95, true}};
  check_groups("all kinds", groups, 3);
}

TEST(at_rate_1_there_is_no_error) {
  struct ha_entry *entry = ha_table_entry(one_stack(), 90, 0, 0);
  for (int i = 0; i < 1000; i++) {
    ha_sample_record(&samples[i], entry, 132 * KIB + (size_t)i * 4096, 1, 1);
  }
  struct ha_heap_totals totals = ha_heap_totals();
  for (int value = 0; value < HA_ROW_VALUES_MAX; value++) {
    CHECK(totals.variances[value] == 0, "value %d has the variance %g", value, totals.variances[value]);
  }
}

/* The square of the largest weight, 2^72, is more than a word holds. */
TEST(the_largest_rate_has_an_error_as_large_as_its_estimate) {
  struct ha_entry *entry = ha_table_entry(one_stack(), 1, 0, 16);
  for (int i = 0; i < 100; i++) {
    ha_sample_record(&samples[i], entry, 16, 16, HA_RATE_MAX);
    sizes[i] = 16;
  }
  struct ha_heap_totals totals = ha_heap_totals();
  double relative = sqrt(totals.variances[INUSE_SPACE]) / (double)totals.values[INUSE_SPACE];
  CHECK(fabs(relative - 0.1) < 1e-6, "100 samples have a relative error of %g", relative);
  retire_all(100);
  CHECK(ha_heap_totals().variances[INUSE_SPACE] == 0, "an error is left");
}
