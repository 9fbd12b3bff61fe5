/* SPDX-License-Identifier: MIT */
/*
 * Where the values of a profile are: by function, or by whole stack.
 *
 * By function: `flat` is what the function allocated itself, `cum` what it and all it called allocated; a
 * function that occurs several times in one stack (recursion) counts once. By stack: samples of equal stacks
 * are added up. Both are sorted, largest magnitude first, then by name, so that the same profile always gives
 * the same text. Samples whose value is 0 make no entry.
 */
#ifndef HA_TOOLS_TOP_H
#define HA_TOOLS_TOP_H

#include "tools/stacks.h"

struct ha_top_node {
  const char *name;
  int64_t flat, cum;
  double flat_variance, cum_variance; /* 0 where none are known */
};

struct ha_top_stack {
  const struct ha_stacks_row *row; /* one of the samples; its frames are the stack's */
  int64_t *values;                 /* sums, for every sample type */
  double variance;                 /* of the value that is shown; 0 if it is not known */
};

struct ha_top {
  int64_t
      total; /* of all samples, also those without frames; magnitudes, so that differences do not cancel */
  size_t count;
  struct ha_top_node *nodes;   /* NULL in a table of stacks */
  struct ha_top_stack *stacks; /* NULL in a table of functions */
  int64_t *stack_values;       /* memory of stacks[].values */
};

/* variances: of the values of the type, by row; NULL if they are not known. */
struct ha_top ha_top_functions(const struct ha_stacks *stacks, size_t type, const double *variances,
                               bool by_cum);
struct ha_top ha_top_stacks(const struct ha_stacks *stacks, size_t type, const double *variances,
                            size_t type_count);
void ha_top_done(struct ha_top *top);

#endif
