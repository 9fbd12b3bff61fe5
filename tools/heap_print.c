/* SPDX-License-Identifier: MIT */
/*
 * Text for people. The head and the table are those of `go tool pprof -top`, so that eyes and scripts used to
 * it find everything in its place; below the table stands what pprof cannot say, how exact the numbers are.
 */
#include "tools/heap_print.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/format.h"
#include "tools/report.h"

#define NANOS_PER_SECOND 1000000000
#define TIME_TEXT 64
#define STACK_INDENT "            "

static void print_file(const struct ha_heap_view *view) {
  if (ha_pprof_mapping_count(view->profile) == 0)
    return;
  const char *file = ha_pprof_mapping(view->profile, 0).filename;
  const char *slash = strrchr(file, '/');
  if (*file == '\0')
    return;
  fputs("File: ", stdout);
  ha_put_text(stdout, slash == NULL ? file : slash + 1);
  putchar('\n');
}

/* As Go prints it: "Nov 21, 2025 at 2:04pm (UTC)". */
static void print_time(const struct ha_heap_view *view) {
  time_t seconds = (time_t)(ha_pprof_time_nanos(view->profile) / NANOS_PER_SECOND);
  char date[TIME_TEXT], zone[TIME_TEXT];
  struct tm tm;
  if (seconds == 0 || localtime_r(&seconds, &tm) == NULL)
    return;
  const int noon = 12;
  int hour = tm.tm_hour % noon == 0 ? noon : tm.tm_hour % noon;
  strftime(date, sizeof date, "%b", &tm);
  strftime(zone, sizeof zone, "%Z", &tm);
  printf("Time: %s %d, %d at %d:%02d%s (%s)\n", date, tm.tm_mday, tm.tm_year + 1900, hour, tm.tm_min,
         tm.tm_hour < noon ? "am" : "pm", zone);
}

static void print_dropped(const struct ha_heap_view *view) {
  uint64_t dropped = 0;
  if (ha_comment_number(view->profile, "dropped", &dropped) && dropped > 0)
    printf("Warning: %" PRIu64 " samples were dropped while recording, so the values are too small\n",
           dropped);
}

static int64_t entry_value(const struct ha_heap_view *view, size_t index) {
  const struct ha_top *top = view->top;
  return top->nodes != NULL ? top->nodes[index].flat : top->stacks[index].values[view->type];
}

/* One unit for the whole table. */
static struct ha_scale choose_scale(const struct ha_heap_view *view) {
  uint64_t smallest = 0;
  for (size_t i = 0; i < view->shown; i++) {
    uint64_t value = ha_magnitude(entry_value(view, i));
    if (value == 0 && view->top->nodes != NULL)
      value = ha_magnitude(view->top->nodes[i].cum);
    if (value > 0 && (smallest == 0 || value < smallest))
      smallest = value;
  }
  return ha_scale_for(smallest, ha_magnitude(view->top->total),
                      ha_pprof_type(view->profile, view->type).unit);
}

static const char *skip_spaces(const char *text) {
  return text + strspn(text, " ");
}

static void print_head(const struct ha_heap_view *view, struct ha_scale scale) {
  const char *what = view->top->nodes != NULL ? "nodes" : "stacks";
  int64_t sum = 0;
  for (size_t i = 0; i < view->shown; i++)
    sum = ha_sum(sum, entry_value(view, i));
  print_dropped(view);
  print_file(view);
  fputs("Type: ", stdout);
  ha_put_text(stdout, ha_pprof_type(view->profile, view->type).type);
  putchar('\n');
  print_time(view);
  printf("Showing %s accounting for %s, %s of %s total\n", what, ha_format_scaled((double)sum, scale).text,
         skip_spaces(ha_format_percent(sum, view->top->total).text),
         ha_format_scaled((double)view->top->total, scale).text);
  if (view->shown < view->top->count)
    printf("Showing top %zu %s out of %zu\n", view->shown, what, view->top->count);
}

/* One standard error, in the table's unit. */
static struct ha_value_text format_error(double variance, struct ha_scale scale) {
  return ha_format_scaled(round(sqrt(variance)), scale);
}

static void print_nodes(const struct ha_heap_view *view, struct ha_scale scale) {
  int64_t total = view->top->total, sum = 0;
  printf("%10s %5s%% %5s%% %10s %5s%%", "flat", "flat", "sum", "cum", "cum");
  /* printf counts bytes, and the sign has two. */
  if (view->has_errors)
    printf(" %11s %11s", "±flat", "±cum");
  putchar('\n');
  for (size_t i = 0; i < view->shown; i++) {
    const struct ha_top_node *node = &view->top->nodes[i];
    sum = ha_sum(sum, node->flat);
    printf("%10s %s %s %10s %s", ha_format_scaled((double)node->flat, scale).text,
           ha_format_percent(node->flat, total).text, ha_format_percent(sum, total).text,
           ha_format_scaled((double)node->cum, scale).text, ha_format_percent(node->cum, total).text);
    if (view->has_errors)
      printf(" %10s %10s", format_error(node->flat_variance, scale).text,
             format_error(node->cum_variance, scale).text);
    fputs("  ", stdout);
    ha_put_text(stdout, node->name);
    putchar('\n');
  }
}

static void print_stack_values(const struct ha_heap_view *view, const struct ha_top_stack *stack) {
  for (size_t t = 0; t < ha_pprof_type_count(view->profile); t++) {
    struct ha_pprof_type type = ha_pprof_type(view->profile, t);
    fputs(t == 0 ? "  " : ", ", stdout);
    ha_put_text(stdout, type.type);
    fputs(" ", stdout);
    ha_put_text(stdout, ha_format_value((double)stack->values[t], type.unit).text);
  }
  putchar('\n');
}

static void print_stacks(const struct ha_heap_view *view, struct ha_scale scale) {
  for (size_t i = 0; i < view->shown; i++) {
    const struct ha_top_stack *stack = &view->top->stacks[i];
    int64_t value = stack->values[view->type];
    printf("\n%10s %s", ha_format_scaled((double)value, scale).text,
           ha_format_percent(value, view->top->total).text);
    if (view->has_errors)
      printf(" ± %s", format_error(stack->variance, scale).text);
    print_stack_values(view, stack);
    for (size_t k = 0; k < stack->row->frame_count; k++) {
      fputs(STACK_INDENT, stdout);
      ha_put_text(stdout, view->stacks->names[stack->row->frames[k]]);
      putchar('\n');
    }
  }
}

static void print_exact(const struct ha_accuracy *accuracy, const char *unit) {
  double difference = fabs((double)accuracy->total - (double)accuracy->exact);
  printf(", exact %s %s", accuracy->exact_name, ha_format_value((double)accuracy->exact, unit).text);
  if (accuracy->standard_error > 0)
    printf(", difference %.1f standard errors", difference / accuracy->standard_error);
  else
    printf(", difference %s", ha_format_value(difference, unit).text);
}

static void print_accuracy(const struct ha_heap_view *view) {
  struct ha_accuracy accuracy = ha_accuracy_of(view->profile, view->type);
  const char *unit = ha_pprof_type(view->profile, view->type).unit;
  if (!accuracy.has_error)
    return;
  printf("\nsampled total %s ± %s (1 standard error, %.0f samples)",
         ha_format_value((double)accuracy.total, unit).text,
         ha_format_value(round(accuracy.standard_error), unit).text, accuracy.sample_count);
  if (accuracy.high > accuracy.low)
    printf(", 95 %% from %s to %s", ha_format_value(round(accuracy.low), unit).text,
           ha_format_value(round(accuracy.high), unit).text);
  if (accuracy.exact_name != NULL)
    print_exact(&accuracy, unit);
  putchar('\n');
}

/* Of a profile of resident memory: whether it is whole, and what of the heap is not in it. */
static void print_rss(const struct ha_heap_view *view) {
  struct ha_pprof_type type = ha_pprof_type(view->profile, view->type);
  uint64_t process, live, missing;
  if (strcmp(type.type, HA_RSS_TYPE) != 0 || !ha_comment_number(view->profile, "VmRSS", &process) ||
      !ha_comment_number(view->profile, "live", &live) ||
      !ha_comment_number(view->profile, "not_resident", &missing))
    return;
  printf("\nresident total %s, VmRSS %s", ha_format_value((double)view->top->total, type.unit).text,
         ha_format_value((double)process, type.unit).text);
  printf("; blocks in use %s, of which %s are not resident\n",
         ha_format_value((double)live + (double)missing, type.unit).text,
         ha_format_value((double)missing, type.unit).text);
}

void ha_heap_print_text(const struct ha_heap_view *view) {
  struct ha_scale scale = choose_scale(view);
  print_head(view, scale);
  if (view->top->nodes != NULL)
    print_nodes(view, scale);
  else
    print_stacks(view, scale);
  print_accuracy(view);
  print_rss(view);
}
