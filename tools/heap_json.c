/* SPDX-License-Identifier: MIT */
/*
 * One JSON object with the profile's entries, for scripts. Values are whole numbers in the profile's own
 * unit; percentages are left to the reader, who has the total. Fields that the profile does not carry are
 * absent.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "tools/heap_print.h"
#include "tools/report.h"

static void print_string_field(const char *name, const char *value) {
  printf("\"%s\":", name);
  ha_put_json(stdout, value);
  putchar(',');
}

static void print_accuracy_fields(const struct ha_heap_view *view) {
  struct ha_accuracy accuracy = ha_accuracy_of(view->profile, view->type);
  uint64_t dropped = 0;
  if (accuracy.has_error)
    printf("\"standard_error\":%.0f,\"interval95\":[%.0f,%.0f],\"samples\":%.0f,", accuracy.standard_error,
           accuracy.low, accuracy.high, accuracy.sample_count);
  if (accuracy.exact_name != NULL)
    printf("\"exact\":{\"name\":\"%s\",\"value\":%" PRIu64 "},", accuracy.exact_name, accuracy.exact);
  if (ha_comment_number(view->profile, "dropped", &dropped))
    printf("\"dropped\":%" PRIu64 ",", dropped);
}

static void print_rss_fields(const struct ha_heap_view *view) {
  uint64_t process, missing;
  if (ha_comment_number(view->profile, "VmRSS", &process) &&
      ha_comment_number(view->profile, "not_resident", &missing))
    printf("\"VmRSS\":%" PRIu64 ",\"not_resident\":%" PRIu64 ",", process, missing);
}

static void print_node(const struct ha_heap_view *view, const struct ha_top_node *node) {
  fputs("{\"name\":", stdout);
  ha_put_json(stdout, node->name);
  printf(",\"flat\":%" PRId64 ",\"cum\":%" PRId64, node->flat, node->cum);
  if (view->has_errors)
    printf(",\"flat_standard_error\":%.0f,\"cum_standard_error\":%.0f", sqrt(node->flat_variance),
           sqrt(node->cum_variance));
  putchar('}');
}

static void print_stack(const struct ha_heap_view *view, const struct ha_top_stack *stack) {
  printf("{\"value\":%" PRId64 ",", stack->values[view->type]);
  if (view->has_errors)
    printf("\"standard_error\":%.0f,", sqrt(stack->variance));
  fputs("\"values\":{", stdout);
  for (size_t t = 0; t < ha_pprof_type_count(view->profile); t++) {
    fputs(t == 0 ? "" : ",", stdout);
    ha_put_json(stdout, ha_pprof_type(view->profile, t).type);
    printf(":%" PRId64, stack->values[t]);
  }
  fputs("},\"stack\":[", stdout);
  for (size_t i = 0; i < stack->row->frame_count; i++) {
    fputs(i == 0 ? "" : ",", stdout);
    ha_put_json(stdout, view->stacks->names[stack->row->frames[i]]);
  }
  fputs("]}", stdout);
}

void ha_heap_print_json(const struct ha_heap_view *view) {
  struct ha_pprof_type type = ha_pprof_type(view->profile, view->type);
  putchar('{');
  print_string_field("sample_type", type.type);
  print_string_field("unit", type.unit);
  printf("\"total\":%" PRId64 ",\"period\":%" PRId64 ",\"time_nanos\":%" PRId64 ",", view->top->total,
         ha_pprof_period(view->profile), ha_pprof_time_nanos(view->profile));
  print_accuracy_fields(view);
  print_rss_fields(view);
  printf("\"entry_count\":%zu,\"entries\":[", view->top->count);
  for (size_t i = 0; i < view->shown; i++) {
    fputs(i == 0 ? "" : ",", stdout);
    if (view->top->nodes != NULL)
      print_node(view, &view->top->nodes[i]);
    else
      print_stack(view, &view->top->stacks[i]);
  }
  puts("]}");
}
