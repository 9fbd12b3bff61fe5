/* SPDX-License-Identifier: MIT */
/*
 * The sum over the samples. The number of blocks really sampled is not in the profile; it is estimated
 * objects times p. A sample without a block size uses the mean of its own bytes and objects.
 */
#include "tools/accuracy.h"

#include <math.h>
#include <string.h>

#include "tools/format.h"
#include "tools/options.h"

#define NUMBER_TEXT 24

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

struct error_sum {
  double variance, samples;
};

static void add_sample(struct error_sum *sum, double objects, double size, double rate, bool is_space) {
  if (objects <= 0 || size <= 0)
    return;
  double missed = rate > 1 ? exp(-size / rate) : 0;
  double sampled = rate > 1 ? -expm1(-size / rate) : 1;
  double count = objects * sampled;
  sum->samples += count;
  sum->variance += count * missed / (sampled * sampled) * (is_space ? size * size : 1);
}

static struct error_sum sum_errors(const struct ha_pprof *profile, size_t objects, size_t space,
                                   bool is_space) {
  struct error_sum sum = {0, 0};
  double rate = (double)ha_pprof_period(profile);
  for (size_t i = 0; i < ha_pprof_sample_count(profile); i++) {
    struct ha_pprof_sample sample = ha_pprof_sample(profile, i);
    double count = (double)sample.values[objects];
    double mean = count > 0 ? (double)sample.values[space] / count : 0;
    add_sample(&sum, count, sample.block_size > 0 ? (double)sample.block_size : mean, rate, is_space);
  }
  return sum;
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
  if (heap == NULL)
    return accuracy;
  int objects = ha_pprof_find_type(profile, heap->objects), space = ha_pprof_find_type(profile, heap->space);
  if (objects >= 0 && space >= 0 && ha_pprof_period(profile) > 0) {
    struct error_sum sum = sum_errors(profile, (size_t)objects, (size_t)space, heap->is_space);
    accuracy.has_error = true;
    accuracy.sample_count = sum.samples;
    accuracy.standard_error = sqrt(sum.variance);
  }
  if (ha_comment_number(profile, heap->exact_name, &accuracy.exact))
    accuracy.exact_name = heap->exact_name;
  return accuracy;
}
