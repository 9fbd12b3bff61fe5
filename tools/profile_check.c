/* SPDX-License-Identifier: MIT */
/*
 * Checking and translating, one table after the other. Ids are usually 1..N in table order, but a profile may
 * choose any: each table gets a sorted list of (id, place), which also shows ids that occur twice.
 * Cost: N log N for the tables, log N per reference.
 */
#include "tools/profile_check.h"

#include <stdlib.h>

#include "tools/profile_reader.h"
#include "tools/report.h"

static const char bad_string[] = "expected a pprof profile, a string number in this one is out of range";
static const char bad_id[] =
    "expected a pprof profile, an id in this one is zero, doubled or refers to nothing";

struct id_entry {
  uint64_t id;
  uint32_t place;
};

struct id_index {
  struct id_entry *entries;
  size_t count;
};

static int compare_ids(const void *a, const void *b) {
  const struct id_entry *x = a, *y = b;
  return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_index_valid(struct id_index *index) {
  qsort(index->entries, index->count, sizeof *index->entries, compare_ids);
  if (index->count > 0 && index->entries[0].id == 0)
    return false;
  for (size_t i = 1; i < index->count; i++) {
    if (index->entries[i - 1].id == index->entries[i].id)
      return false;
  }
  return true;
}

/* The place of an entry instead of its id; false when there is none. */
static bool translate(const struct id_index *index, uint64_t *id) {
  const struct id_entry key = {*id, 0};
  if (key.id != 0 && key.id <= index->count && index->entries[key.id - 1].id == key.id) {
    *id = index->entries[key.id - 1].place;
    return true;
  }
  const struct id_entry *found =
      index->count == 0 ? NULL : bsearch(&key, index->entries, index->count, sizeof key, compare_ids);
  if (found != NULL)
    *id = found->place;
  return found != NULL;
}

static bool translate_optional(const struct id_index *index, uint64_t *id) {
  if (*id != 0)
    return translate(index, id);
  *id = HA_PPROF_NONE;
  return true;
}

#define DEFINE_INDEX(table)                                                                                  \
  static struct id_index index_##table(const Perftools__Profiles__Profile *message) {                        \
    struct id_index index = {ha_array(message->n_##table, sizeof(struct id_entry)), message->n_##table};     \
    for (size_t i = 0; i < index.count; i++)                                                                 \
      index.entries[i] = (struct id_entry){message->table[i]->id, (uint32_t)i};                              \
    return index;                                                                                            \
  }

DEFINE_INDEX(mapping)
DEFINE_INDEX(location)
DEFINE_INDEX(function)

static bool is_string(const Perftools__Profiles__Profile *message, int64_t number) {
  return number >= 0 && (uint64_t)number < message->n_string_table;
}

static bool are_header_strings_valid(const Perftools__Profiles__Profile *message) {
  for (size_t i = 0; i < message->n_sample_type; i++) {
    if (!is_string(message, message->sample_type[i]->type) ||
        !is_string(message, message->sample_type[i]->unit))
      return false;
  }
  for (size_t i = 0; i < message->n_comment; i++) {
    if (!is_string(message, message->comment[i]))
      return false;
  }
  return is_string(message, message->drop_frames) && is_string(message, message->keep_frames) &&
         is_string(message, message->default_sample_type);
}

static bool are_table_strings_valid(const Perftools__Profiles__Profile *message) {
  for (size_t i = 0; i < message->n_mapping; i++) {
    if (!is_string(message, message->mapping[i]->filename) ||
        !is_string(message, message->mapping[i]->build_id))
      return false;
  }
  for (size_t i = 0; i < message->n_function; i++) {
    if (!is_string(message, message->function[i]->name) ||
        !is_string(message, message->function[i]->system_name))
      return false;
  }
  return true;
}

static bool are_label_strings_valid(const Perftools__Profiles__Profile *message,
                                    const Perftools__Profiles__Sample *sample) {
  for (size_t i = 0; i < sample->n_label; i++) {
    const Perftools__Profiles__Label *label = sample->label[i];
    if (!is_string(message, label->key) || !is_string(message, label->str) ||
        !is_string(message, label->num_unit))
      return false;
  }
  return true;
}

static const char *check_samples(Perftools__Profiles__Profile *message, const struct id_index *locations) {
  for (size_t i = 0; i < message->n_sample; i++) {
    Perftools__Profiles__Sample *sample = message->sample[i];
    if (sample->n_value != message->n_sample_type)
      return "expected a pprof profile, a sample in this one has the wrong number of values";
    if (!are_label_strings_valid(message, sample))
      return bad_string;
    for (size_t k = 0; k < sample->n_location_id; k++) {
      if (!translate(locations, &sample->location_id[k]))
        return bad_id;
    }
  }
  return NULL;
}

static bool translate_locations(Perftools__Profiles__Profile *message, const struct id_index *mappings,
                                const struct id_index *functions) {
  for (size_t i = 0; i < message->n_location; i++) {
    Perftools__Profiles__Location *location = message->location[i];
    if (!translate_optional(mappings, &location->mapping_id))
      return false;
    for (size_t k = 0; k < location->n_line; k++) {
      if (!translate_optional(functions, &location->line[k]->function_id))
        return false;
    }
  }
  return true;
}

static const char *check_ids(Perftools__Profiles__Profile *message) {
  struct id_index mappings = index_mapping(message);
  struct id_index locations = index_location(message);
  struct id_index functions = index_function(message);
  const char *problem = NULL;
  if (!is_index_valid(&mappings) || !is_index_valid(&locations) || !is_index_valid(&functions) ||
      !translate_locations(message, &mappings, &functions))
    problem = bad_id;
  if (problem == NULL)
    problem = check_samples(message, &locations);
  free(mappings.entries);
  free(locations.entries);
  free(functions.entries);
  return problem;
}

const char *ha_profile_check(Perftools__Profiles__Profile *message) {
  if (message->n_string_table == 0 || message->string_table[0][0] != '\0')
    return "expected a pprof profile, this file is something else";
  if (message->n_sample_type == 0)
    return "expected a pprof profile, this one has no sample types";
  if (!are_header_strings_valid(message) || !are_table_strings_valid(message))
    return bad_string;
  return check_ids(message);
}
