/* SPDX-License-Identifier: MIT */
/*
 * Values with units, written the way pprof writes them, so that a table of ours and one of pprof's agree.
 *
 * A unit family is a list such as B, kB, MB (kB is 1024 bytes). A value is shown in one unit of its family
 * with two decimals, and ".00" is left out. A table uses one unit for all its rows: the one that suits its
 * smallest value, or a larger one when the smallest is under a hundredth of the largest. Units outside the
 * known families (count, …) are plain numbers.
 */
#ifndef HA_TOOLS_FORMAT_H
#define HA_TOOLS_FORMAT_H

#include "base/compiler.h"

/* Longest value: sign, twenty digits, decimals, unit. */
#define HA_VALUE_TEXT 64

struct ha_value_text {
  char text[HA_VALUE_TEXT];
};

struct ha_scale {
  double divisor;
  const char *suffix;
};

/* The scale that shows values of `unit` between smallest and largest (both positive, or 0 when there are
 * none). */
struct ha_scale ha_scale_for(uint64_t smallest, uint64_t largest, const char *unit);
/* The scale that suits one value. */
struct ha_scale ha_scale_one(double value, const char *unit);
struct ha_value_text ha_format_scaled(double value, struct ha_scale scale);
/* A value in the unit that suits it best. */
struct ha_value_text ha_format_value(double value, const char *unit);
/* Six characters, such as "25.00%", "  100%", " 0.05%". */
struct ha_value_text ha_format_percent(int64_t value, int64_t total);

/* Sums wrap instead of being undefined: values come from a file. */
HA_INLINE int64_t ha_sum(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a + (uint64_t)b);
}

HA_INLINE uint64_t ha_magnitude(int64_t value) {
  return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

#endif
