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
 * Halloc counts every allocation besides sampling and writes the exact totals into the profile's comments, as
 * `halloc: key=value key=value …`; comparing both shows whether the sample can be trusted.
 */
#ifndef HA_TOOLS_ACCURACY_H
#define HA_TOOLS_ACCURACY_H

#include "tools/profile_reader.h"

struct ha_accuracy {
  bool has_error; /* the type is one of Go's four heap types and the profile has a sampling rate */
  int64_t total;
  double standard_error;
  double sample_count;
  const char *exact_name; /* "HeapAlloc", …; NULL: the profile has no exact total for this type */
  uint64_t exact;
};

struct ha_accuracy ha_accuracy_of(const struct ha_pprof *profile, size_t type);

/* A number from a comment `halloc: … key=NUMBER …`. The last one counts. */
bool ha_comment_number(const struct ha_pprof *profile, const char *key, uint64_t *ret_value);

#endif
