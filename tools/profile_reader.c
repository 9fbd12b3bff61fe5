/* SPDX-License-Identifier: MIT */
/*
 * Accessors over the decoded message. profile_check.c has verified all numbers before any of these is called.
 */
#include "tools/profile_reader.h"

#include <stdlib.h>
#include <string.h>

#include "tools/profile_check.h"
#include "tools/profile_load.h"
#include "tools/report.h"

/* Decoded messages are larger than their encoding, by a factor that the file chooses; this bounds the sum. */
struct memory_budget {
  size_t left;
};

struct ha_pprof {
  Perftools__Profiles__Profile *message;
  struct memory_budget budget;
  int64_t *block_sizes; /* by sample */
};

static void *budget_alloc(void *data, size_t size) {
  struct memory_budget *budget = data;
  if (size > budget->left)
    return NULL;
  budget->left -= size;
  return malloc(size);
}

static void budget_free(void *data, void *memory) {
  (void)data;
  free(memory);
}

static const char *decode(struct ha_pprof *profile, const struct ha_file_bytes *file) {
  profile->budget.left = HA_PROFILE_MEMORY_MAX;
  ProtobufCAllocator allocator = {budget_alloc, budget_free, &profile->budget};
  profile->message = perftools__profiles__profile__unpack(&allocator, file->size, file->bytes);
  if (profile->message == NULL)
    return "expected a pprof profile, this file is something else, truncated or too large";
  return ha_profile_check(profile->message);
}

static bool is_string(const struct ha_pprof *profile, int64_t index, const char *text) {
  return strcmp(profile->message->string_table[index], text) == 0;
}

static int64_t find_block_size(const struct ha_pprof *profile, const Perftools__Profiles__Sample *sample) {
  for (size_t i = 0; i < sample->n_label; i++) {
    if (sample->label[i]->str == 0 && is_string(profile, sample->label[i]->key, "bytes"))
      return sample->label[i]->num;
  }
  return 0;
}

static void read_block_sizes(struct ha_pprof *profile) {
  size_t count = profile->message->n_sample;
  profile->block_sizes = ha_array(count, sizeof *profile->block_sizes);
  for (size_t i = 0; i < count; i++)
    profile->block_sizes[i] = find_block_size(profile, profile->message->sample[i]);
}

struct ha_pprof *ha_pprof_open(const char *path) {
  struct ha_pprof *profile = ha_array(1, sizeof *profile);
  struct ha_file_bytes file = {NULL, 0};
  const char *problem = ha_profile_load(path, &file);
  if (problem == NULL)
    problem = decode(profile, &file);
  free(file.bytes);
  if (problem != NULL) {
    ha_complain("profile: %s: %s; nothing was read", path, problem);
    ha_pprof_free(profile);
    return NULL;
  }
  read_block_sizes(profile);
  return profile;
}

void ha_pprof_free(struct ha_pprof *profile) {
  ProtobufCAllocator allocator = {budget_alloc, budget_free, &profile->budget};
  if (profile->message != NULL)
    perftools__profiles__profile__free_unpacked(profile->message, &allocator);
  free(profile->block_sizes);
  free(profile);
}

size_t ha_pprof_type_count(const struct ha_pprof *profile) {
  return profile->message->n_sample_type;
}

struct ha_pprof_type ha_pprof_type(const struct ha_pprof *profile, size_t index) {
  const Perftools__Profiles__ValueType *type = profile->message->sample_type[index];
  return (struct ha_pprof_type){profile->message->string_table[type->type],
                                profile->message->string_table[type->unit]};
}

static int find_type_named(const struct ha_pprof *profile, const char *name) {
  for (size_t i = 0; i < profile->message->n_sample_type; i++) {
    if (is_string(profile, profile->message->sample_type[i]->type, name))
      return (int)i;
  }
  return -1;
}

int ha_pprof_find_type(const struct ha_pprof *profile, const char *name) {
  if (name != NULL)
    return find_type_named(profile, name);
  int index = find_type_named(profile, profile->message->string_table[profile->message->default_sample_type]);
  return index >= 0 ? index : (int)profile->message->n_sample_type - 1;
}

size_t ha_pprof_sample_count(const struct ha_pprof *profile) {
  return profile->message->n_sample;
}

struct ha_pprof_sample ha_pprof_sample(const struct ha_pprof *profile, size_t index) {
  const Perftools__Profiles__Sample *sample = profile->message->sample[index];
  return (struct ha_pprof_sample){sample->location_id, sample->n_location_id, sample->value,
                                  profile->block_sizes[index]};
}

size_t ha_pprof_location_count(const struct ha_pprof *profile) {
  return profile->message->n_location;
}

struct ha_pprof_location ha_pprof_location(const struct ha_pprof *profile, size_t index) {
  const Perftools__Profiles__Location *location = profile->message->location[index];
  return (struct ha_pprof_location){location->address, (uint32_t)location->mapping_id, location->n_line};
}

uint32_t ha_pprof_line_function(const struct ha_pprof *profile, size_t location, size_t line) {
  return (uint32_t)profile->message->location[location]->line[line]->function_id;
}

size_t ha_pprof_function_count(const struct ha_pprof *profile) {
  return profile->message->n_function;
}

struct ha_pprof_function ha_pprof_function(const struct ha_pprof *profile, size_t index) {
  const Perftools__Profiles__Function *function = profile->message->function[index];
  char **strings = profile->message->string_table;
  return (struct ha_pprof_function){strings[function->name], strings[function->system_name]};
}

size_t ha_pprof_mapping_count(const struct ha_pprof *profile) {
  return profile->message->n_mapping;
}

struct ha_pprof_mapping ha_pprof_mapping(const struct ha_pprof *profile, size_t index) {
  const Perftools__Profiles__Mapping *mapping = profile->message->mapping[index];
  return (struct ha_pprof_mapping){profile->message->string_table[mapping->filename], mapping->memory_start,
                                   mapping->memory_limit, mapping->file_offset};
}

size_t ha_pprof_comment_count(const struct ha_pprof *profile) {
  return profile->message->n_comment;
}

const char *ha_pprof_comment(const struct ha_pprof *profile, size_t index) {
  return profile->message->string_table[profile->message->comment[index]];
}

const char *ha_pprof_drop_frames(const struct ha_pprof *profile) {
  return profile->message->string_table[profile->message->drop_frames];
}

const char *ha_pprof_keep_frames(const struct ha_pprof *profile) {
  return profile->message->string_table[profile->message->keep_frames];
}

int64_t ha_pprof_time_nanos(const struct ha_pprof *profile) {
  return profile->message->time_nanos;
}

int64_t ha_pprof_duration_nanos(const struct ha_pprof *profile) {
  return profile->message->duration_nanos;
}

int64_t ha_pprof_period(const struct ha_pprof *profile) {
  return profile->message->period;
}
