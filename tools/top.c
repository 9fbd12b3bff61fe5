/* SPDX-License-Identifier: MIT */
/*
 * Adding up. Functions: one pass over the rows with a mark per name that tells whether this row counted it
 * already. Stacks: the rows are sorted by their frames, so equal stacks are neighbours, and then merged in
 * place.
 */
#include "tools/top.h"

#include <stdlib.h>
#include <string.h>

#include "tools/format.h"
#include "tools/report.h"

static int compare_magnitude(int64_t a, int64_t b) {
  uint64_t x = ha_magnitude(a), y = ha_magnitude(b);
  return x > y ? -1 : x < y;
}

static int compare_flat(const void *a, const void *b) {
  const struct ha_top_node *x = a, *y = b;
  int order = compare_magnitude(x->flat, y->flat);
  if (order == 0)
    order = strcmp(x->name, y->name);
  return order != 0 ? order : compare_magnitude(x->cum, y->cum);
}

static int compare_cum(const void *a, const void *b) {
  const struct ha_top_node *x = a, *y = b;
  int order = compare_magnitude(x->cum, y->cum);
  if (order == 0)
    order = strcmp(x->name, y->name);
  return order != 0 ? order : compare_magnitude(x->flat, y->flat);
}

static int64_t add_magnitude(int64_t total, int64_t value) {
  return (int64_t)((uint64_t)total + ha_magnitude(value));
}

/* seen[name] is the number of the last row that counted the name; 0 for none. */
static void add_row(struct ha_top_node *nodes, size_t *seen, size_t row_number,
                    const struct ha_stacks_row *row, int64_t value, double variance) {
  if (row->frame_count > 0) {
    struct ha_top_node *leaf = &nodes[row->frames[0]];
    leaf->flat = ha_sum(leaf->flat, value);
    leaf->flat_variance += variance;
  }
  for (size_t i = 0; i < row->frame_count; i++) {
    uint32_t name = row->frames[i];
    if (seen[name] == row_number)
      continue;
    seen[name] = row_number;
    nodes[name].cum = ha_sum(nodes[name].cum, value);
    nodes[name].cum_variance += variance;
  }
}

/* Names that no counted row has are not entries. */
static size_t keep_seen(struct ha_top_node *nodes, const size_t *seen, const struct ha_stacks *stacks) {
  size_t kept = 0;
  for (size_t i = 0; i < stacks->name_count; i++) {
    if (seen[i] == 0)
      continue;
    nodes[kept] = nodes[i];
    nodes[kept++].name = stacks->names[i];
  }
  return kept;
}

struct ha_top ha_top_functions(const struct ha_stacks *stacks, size_t type, const double *variances,
                               bool by_cum) {
  struct ha_top top = {0};
  size_t *seen = ha_array(stacks->name_count, sizeof *seen);
  top.nodes = ha_array(stacks->name_count, sizeof *top.nodes);
  for (size_t i = 0; i < stacks->row_count; i++) {
    int64_t value = stacks->rows[i].values[type];
    top.total = add_magnitude(top.total, value);
    if (value != 0)
      add_row(top.nodes, seen, i + 1, &stacks->rows[i], value, variances != NULL ? variances[i] : 0);
  }
  top.count = keep_seen(top.nodes, seen, stacks);
  free(seen);
  qsort(top.nodes, top.count, sizeof *top.nodes, by_cum ? compare_cum : compare_flat);
  return top;
}

static int compare_frames(const struct ha_stacks_row *a, const struct ha_stacks_row *b) {
  if (a->frame_count != b->frame_count)
    return a->frame_count < b->frame_count ? -1 : 1;
  return a->frame_count == 0 ? 0 : memcmp(a->frames, b->frames, a->frame_count * sizeof *a->frames);
}

static int compare_stack_frames(const void *a, const void *b) {
  return compare_frames(((const struct ha_top_stack *)a)->row, ((const struct ha_top_stack *)b)->row);
}

struct stack_order {
  const struct ha_stacks *stacks;
  size_t type;
};

static int compare_names(const struct ha_stacks *stacks, const struct ha_stacks_row *a,
                         const struct ha_stacks_row *b) {
  for (size_t i = 0; i < a->frame_count && i < b->frame_count; i++) {
    int order = strcmp(stacks->names[a->frames[i]], stacks->names[b->frames[i]]);
    if (order != 0)
      return order;
  }
  return compare_frames(a, b);
}

static int compare_stack_values(const void *a, const void *b, void *arg) {
  const struct stack_order *order = arg;
  const struct ha_top_stack *x = a, *y = b;
  int by_value = compare_magnitude(x->values[order->type], y->values[order->type]);
  return by_value != 0 ? by_value : compare_names(order->stacks, x->row, y->row);
}

static size_t merge_equal_stacks(struct ha_top_stack *stacks, size_t count, size_t type_count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (kept == 0 || compare_frames(stacks[kept - 1].row, stacks[i].row) != 0) {
      stacks[kept++] = stacks[i];
      continue;
    }
    stacks[kept - 1].variance += stacks[i].variance;
    for (size_t t = 0; t < type_count; t++)
      stacks[kept - 1].values[t] = ha_sum(stacks[kept - 1].values[t], stacks[i].values[t]);
  }
  return kept;
}

struct ha_top ha_top_stacks(const struct ha_stacks *stacks, size_t type, const double *variances,
                            size_t type_count) {
  struct ha_top top = {0};
  top.stacks = ha_array(stacks->row_count, sizeof *top.stacks);
  top.stack_values = ha_array(stacks->row_count, type_count * sizeof *top.stack_values);
  for (size_t i = 0; i < stacks->row_count; i++) {
    const struct ha_stacks_row *row = &stacks->rows[i];
    top.total = add_magnitude(top.total, row->values[type]);
    if (row->values[type] == 0)
      continue;
    int64_t *values = top.stack_values + top.count * type_count;
    memcpy(values, row->values, type_count * sizeof *values);
    top.stacks[top.count++] = (struct ha_top_stack){row, values, variances != NULL ? variances[i] : 0};
  }
  qsort(top.stacks, top.count, sizeof *top.stacks, compare_stack_frames);
  top.count = merge_equal_stacks(top.stacks, top.count, type_count);
  struct stack_order order = {stacks, type};
  qsort_r(top.stacks, top.count, sizeof *top.stacks, compare_stack_values, &order);
  return top;
}

void ha_top_done(struct ha_top *top) {
  free(top->nodes);
  free(top->stacks);
  free(top->stack_values);
}
