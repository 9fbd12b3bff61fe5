/* SPDX-License-Identifier: MIT */
/*
 * How exact the total of a sampled heap profile is.
 *
 * A block of S bytes is sampled with probability p = 1 - exp(-S/R), R being the mean bytes between samples,
 * and then stands for 1/p blocks. So n sampled blocks of size S estimate n/p objects and n*S/p bytes, with
 * variances n*(1-p)/p^2 and n*S^2*(1-p)/p^2. Samples are independent, so variances add up; the root of the
 * sum is one standard error: the true value lies within one of the estimate in about two of three profiles,
 * within two in 19 of 20.
 *
 * The library adds the variances up sample by sample, whatever the rate was then, and writes the roots of the sums into
 * the comments, beside the exact totals of the allocator, which counts every allocation:
 * `halloc: key=value key=value ...`. They are used for the total. For a single row only the formula is left, with the
 * rate at the time of writing: right unless the rate has changed. The formula also serves a profile whose rows are not
 * those that the comments describe (a difference, a selection): where the sum of the rows is more than one standard
 * error away from the comment's.
 *
 * The 95 % interval is the range of true totals that would not be surprised by this estimate, at 1.96 of the errors
 * that they would have themselves. It is wider upwards than downwards. Where 5 to 100 samples of equal blocks are
 * expected it holds the truth in 94 to 96 % of cases, and estimate +- 1.96 errors in 87 to 95 %.
 */
#ifndef HA_TOOLS_ACCURACY_H
#define HA_TOOLS_ACCURACY_H

#include "tools/profile_reader.h"

struct ha_accuracy {
  bool has_error; /* the type is one of Go's four heap types and the profile has a sampling rate */
  int64_t total;
  double standard_error;
  double low, high; /* the 95 % interval */
  double sample_count;
  const char *exact_name; /* "HeapAlloc", ...; NULL: the profile has no exact total for this type */
  uint64_t exact;
};

struct ha_accuracy ha_accuracy_of(const struct ha_pprof *profile, size_t type);

/* The variance of each row's value, in the order of the samples; NULL if the profile has no errors for the type. To be
 * freed. */
double *ha_accuracy_variances(const struct ha_pprof *profile, size_t type);

/* A number from a comment `halloc: ... key=NUMBER ...`. The last one counts. */
bool ha_comment_number(const struct ha_pprof *profile, const char *key, uint64_t *ret_value);

#endif
