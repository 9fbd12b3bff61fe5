/* SPDX-License-Identifier: MIT */
/*
 * Sums over the samples. The number of blocks really sampled is not in a row; it is estimated
 * objects times p. A sample without a block size uses the mean of its own bytes and objects.
 */
#include "tools/accuracy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/format.h"
#include "tools/options.h"
#include "tools/report.h"

#define NUMBER_TEXT 24
#define KEY_TEXT 32
#define INTERVAL_Z 1.959964 /* a normal variable is within so many standard deviations in 95 of 100 cases */

struct heap_type {
  const char *type, *objects, *space;
  bool is_space;
  const char *exact_name;
};

static const struct heap_type heap_types[] = {
    {"alloc_objects", "alloc_objects", "alloc_space", false, "Mallocs"},
    {"alloc_space", "alloc_objects", "alloc_space", true, "TotalAlloc"},
    {"inuse_objects", "inuse_objects", "inuse_space", false, "HeapObjects"},
    {"inuse_space", "inuse_objects", "inuse_space", true, "HeapAlloc"},
};

static const struct heap_type *find_heap_type(const char *name) {
  for (size_t i = 0; i < HA_ARRAY_LEN(heap_types); i++) {
    if (strcmp(heap_types[i].type, name) == 0)
      return &heap_types[i];
  }
  return NULL;
}

/* The value of key in one comment, or NULL; it ends at a space or at the end. */
static const char *find_value(const char *comment, const char *key) {
  static const char prefix[] = "halloc:";
  size_t length = strlen(key);
  if (strncmp(comment, prefix, strlen(prefix)) != 0)
    return NULL;
  for (const char *word = comment + strlen(prefix); *word != '\0'; word += strcspn(word, " ")) {
    word += strspn(word, " ");
    if (strncmp(word, key, length) == 0 && word[length] == '=')
      return word + length + 1;
  }
  return NULL;
}

bool ha_comment_number(const struct ha_pprof *profile, const char *key, uint64_t *ret_value) {
  bool found = false;
  for (size_t i = 0; i < ha_pprof_comment_count(profile); i++) {
    char text[NUMBER_TEXT];
    const char *value = find_value(ha_pprof_comment(profile, i), key);
    size_t length = value == NULL ? sizeof text : strcspn(value, " ");
    if (length >= sizeof text)
      continue;
    memcpy(text, value, length);
    text[length] = '\0';
    if (ha_parse_number(text, 0, UINT64_MAX, ret_value))
      found = true;
  }
  return found;
}

/* What is needed to tell the error of a row. */
struct columns {
  size_t objects, space;
  bool is_space;
  double rate;
};

static bool find_columns(const struct ha_pprof *profile, const struct heap_type *heap,
                         struct columns *columns) {
  if (heap == NULL || ha_pprof_period(profile) <= 0)
    return false;
  int objects = ha_pprof_find_type(profile, heap->objects), space = ha_pprof_find_type(profile, heap->space);
  *columns =
      (struct columns){(size_t)objects, (size_t)space, heap->is_space, (double)ha_pprof_period(profile)};
  return objects >= 0 && space >= 0;
}

struct row_error {
  double variance, samples;
};

static struct row_error error_of(const struct ha_pprof_sample *sample, const struct columns *columns) {
  double objects = (double)sample->values[columns->objects];
  double size = (double)sample->block_size;
  if (objects <= 0)
    return (struct row_error){0, 0};
  if (size <= 0)
    size = (double)sample->values[columns->space] / objects;
  if (size <= 0)
    return (struct row_error){0, 0};
  double missed = columns->rate > 1 ? exp(-size / columns->rate) : 0;
  double sampled = columns->rate > 1 ? -expm1(-size / columns->rate) : 1;
  double count = objects * sampled;
  double square = columns->is_space ? size * size : 1;
  return (struct row_error){count * missed / (sampled * sampled) * square, count};
}

double *ha_accuracy_variances(const struct ha_pprof *profile, size_t type) {
  struct columns columns;
  if (!find_columns(profile, find_heap_type(ha_pprof_type(profile, type).type), &columns))
    return NULL;
  size_t count = ha_pprof_sample_count(profile);
  double *variances = ha_array(count, sizeof *variances);
  for (size_t i = 0; i < count; i++) {
    struct ha_pprof_sample sample = ha_pprof_sample(profile, i);
    variances[i] = error_of(&sample, &columns).variance;
  }
  return variances;
}

static void add_rows(const struct ha_pprof *profile, const struct columns *columns,
                     struct ha_accuracy *accuracy) {
  double variance = 0;
  for (size_t i = 0; i < ha_pprof_sample_count(profile); i++) {
    struct ha_pprof_sample sample = ha_pprof_sample(profile, i);
    struct row_error error = error_of(&sample, columns);
    variance += error.variance;
    accuracy->sample_count += error.samples;
  }
  accuracy->standard_error = sqrt(variance);
}

/* What the library has summed up itself, if these are its rows. */
static void take_comments(const struct ha_pprof *profile, const struct heap_type *heap,
                          struct ha_accuracy *accuracy) {
  char error_key[KEY_TEXT], samples_key[KEY_TEXT];
  uint64_t total, error, samples;
  snprintf(error_key, sizeof error_key, "%s_se", heap->type);
  snprintf(samples_key, sizeof samples_key, "%.*s_samples", (int)strcspn(heap->type, "_"), heap->type);
  if (!ha_comment_number(profile, heap->type, &total) || !ha_comment_number(profile, error_key, &error) ||
      !ha_comment_number(profile, samples_key, &samples) ||
      fabs((double)accuracy->total - (double)total) > (double)error)
    return;
  accuracy->standard_error = (double)error;
  accuracy->sample_count = (double)samples;
}

/* The variance of an estimate of the total t is about c t, c being what this one has: the ends of the interval solve
 * (estimate - t)^2 = z^2 c t. */
static void find_interval(struct ha_accuracy *accuracy) {
  double estimate = (double)accuracy->total, error = accuracy->standard_error;
  accuracy->low = accuracy->high = estimate;
  if (estimate <= 0 || error <= 0)
    return;
  double middle = INTERVAL_Z * INTERVAL_Z * error * error / estimate / 2;
  double half = sqrt(INTERVAL_Z * INTERVAL_Z * error * error + middle * middle);
  accuracy->low = estimate + middle - half;
  accuracy->high = estimate + middle + half;
}

static int64_t sum_values(const struct ha_pprof *profile, size_t type) {
  int64_t total = 0;
  for (size_t i = 0; i < ha_pprof_sample_count(profile); i++)
    total = ha_sum(total, ha_pprof_sample(profile, i).values[type]);
  return total;
}

struct ha_accuracy ha_accuracy_of(const struct ha_pprof *profile, size_t type) {
  struct ha_accuracy accuracy = {.total = sum_values(profile, type)};
  const struct heap_type *heap = find_heap_type(ha_pprof_type(profile, type).type);
  struct columns columns;
  if (find_columns(profile, heap, &columns)) {
    accuracy.has_error = true;
    add_rows(profile, &columns, &accuracy);
    take_comments(profile, heap, &accuracy);
    find_interval(&accuracy);
  }
  if (heap != NULL && ha_comment_number(profile, heap->exact_name, &accuracy.exact))
    accuracy.exact_name = heap->exact_name;
  return accuracy;
}
