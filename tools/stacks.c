/* SPDX-License-Identifier: MIT */
/*
 * Building stacks: first a name for every function, then the frames of every location, then the rows.
 *
 * Dropping frames follows pprof: a location is examined from its outermost line inwards; the first line that
 * matches hides itself and all lines further in. In a stack, the outermost such location hides everything
 * further in, but frames at the root that match are kept until the first one that does not, so no stack is
 * lost whole.
 */
#include "tools/stacks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/demangle.h"
#include "tools/drop_frames.h"
#include "tools/names.h"
#include "tools/report.h"

/* 1 GiB of frame numbers; a profile can ask for far more by repeating one long location. */
#define FRAMES_MAX ((size_t)1 << 28)
#define ADDRESS_TEXT 32

struct location_frames {
  size_t first; /* in line_names */
  size_t count;
  bool is_hiding;       /* what it called is hidden */
  bool is_hidden_whole; /* and it is itself */
};

struct builder {
  const struct ha_pprof *profile;
  enum ha_name_form form;
  struct ha_drop_frames *drop;
  struct ha_names names;
  uint32_t *function_names; /* by function; HA_PPROF_NONE: the function has no name */
  bool *function_dropped;
  struct location_frames *locations;
  uint32_t *line_names;
  size_t line_count, line_capacity;
};

static char *copy(const char *text) {
  size_t size = strlen(text) + 1;
  return memcpy(ha_array(size, 1), text, size);
}

static void name_function(struct builder *b, size_t index) {
  struct ha_pprof_function function = ha_pprof_function(b->profile, index);
  const char *raw = *function.name != '\0' ? function.name : function.system_name;
  b->function_names[index] = HA_PPROF_NONE;
  if (*raw == '\0')
    return;
  char *demangled = ha_demangle(raw);
  char *name = demangled != NULL ? demangled : copy(raw);
  b->function_dropped[index] = ha_drop_frames_matches(b->drop, name);
  if (demangled != NULL && b->form == HA_NAME_SHORT) {
    name = ha_simplify_name(demangled);
    free(demangled);
  }
  b->function_names[index] = ha_names_add(&b->names, name);
}

static void name_functions(struct builder *b) {
  size_t count = ha_pprof_function_count(b->profile);
  b->function_names = ha_array(count, sizeof *b->function_names);
  b->function_dropped = ha_array(count, sizeof *b->function_dropped);
  for (size_t i = 0; i < count; i++)
    name_function(b, i);
}

static uint32_t name_address(struct builder *b, const struct ha_pprof_location *location) {
  char suffix[ADDRESS_TEXT];
  struct ha_pprof_mapping mapping = {"", 0, 0, 0};
  if (location->mapping != HA_PPROF_NONE)
    mapping = ha_pprof_mapping(b->profile, location->mapping);
  const char *slash = strrchr(mapping.filename, '/');
  const char *module = slash == NULL ? mapping.filename : slash + 1;
  bool has_module = *module != '\0' && location->address >= mapping.start;
  uint64_t offset = location->address - (has_module ? mapping.start - mapping.file_offset : 0);
  int length = snprintf(suffix, sizeof suffix, "%s0x%" PRIx64, has_module ? "+" : "", offset);
  size_t size = strlen(module) + (size_t)length + 1;
  char *name = ha_array(size, 1);
  snprintf(name, size, "%s%s", has_module ? module : "", suffix);
  return ha_names_add(&b->names, name);
}

static void add_line(struct builder *b, uint32_t name) {
  b->line_names = ha_array_grow(b->line_names, &b->line_capacity, b->line_count + 1, sizeof *b->line_names);
  b->line_names[b->line_count++] = name;
}

/* The number of lines, counted from the innermost, that the outermost dropped one hides. */
static size_t find_hidden_lines(const struct builder *b, size_t index, size_t line_count) {
  for (size_t line = line_count; line-- > 0;) {
    uint32_t function = ha_pprof_line_function(b->profile, index, line);
    if (function != HA_PPROF_NONE && b->function_dropped[function])
      return line + 1;
  }
  return 0;
}

static void resolve_location(struct builder *b, size_t index) {
  struct ha_pprof_location location = ha_pprof_location(b->profile, index);
  struct location_frames *frames = &b->locations[index];
  size_t hidden = find_hidden_lines(b, index, location.line_count);
  frames->first = b->line_count;
  frames->is_hiding = hidden > 0;
  frames->is_hidden_whole = hidden > 0 && hidden == location.line_count;
  /* A location that is hidden whole still needs its frames: at the root of a stack it stays. */
  for (size_t line = frames->is_hidden_whole ? 0 : hidden; line < location.line_count; line++) {
    uint32_t function = ha_pprof_line_function(b->profile, index, line);
    uint32_t name = function == HA_PPROF_NONE ? HA_PPROF_NONE : b->function_names[function];
    add_line(b, name == HA_PPROF_NONE ? name_address(b, &location) : name);
  }
  if (location.line_count == 0)
    add_line(b, name_address(b, &location));
  frames->count = b->line_count - frames->first;
}

/* The place in the sample's locations where the visible part begins. */
static size_t find_visible(const struct builder *b, const struct ha_pprof_sample *sample) {
  bool found_user = false;
  for (size_t i = sample->location_count; i-- > 0;) {
    uint64_t location = sample->locations[i];
    if (!b->locations[location].is_hiding)
      found_user = true;
    else if (found_user)
      return b->locations[location].is_hidden_whole ? i + 1 : i;
  }
  return 0;
}

static bool count_frames(const struct builder *b, size_t *ret_total) {
  size_t total = 0;
  for (size_t i = 0; i < ha_pprof_sample_count(b->profile); i++) {
    struct ha_pprof_sample sample = ha_pprof_sample(b->profile, i);
    for (size_t k = find_visible(b, &sample); k < sample.location_count; k++) {
      total += b->locations[sample.locations[k]].count;
      if (total > FRAMES_MAX)
        return false;
    }
  }
  *ret_total = total;
  return true;
}

static void fill_rows(const struct builder *b, struct ha_stacks *stacks) {
  uint32_t *next = stacks->frames;
  for (size_t i = 0; i < stacks->row_count; i++) {
    struct ha_pprof_sample sample = ha_pprof_sample(b->profile, i);
    const uint32_t *first = next;
    for (size_t k = find_visible(b, &sample); k < sample.location_count; k++) {
      const struct location_frames *frames = &b->locations[sample.locations[k]];
      memcpy(next, b->line_names + frames->first, frames->count * sizeof *next);
      next += frames->count;
    }
    stacks->rows[i] = (struct ha_stacks_row){first, (size_t)(next - first), sample.values, sample.block_size};
  }
}

static struct ha_stacks *build_rows(struct builder *b) {
  size_t total;
  if (!count_frames(b, &total)) {
    ha_complain(
        "profile: expected fewer frames than fit in 1 GiB of memory, this one has more; nothing was read");
    return NULL;
  }
  struct ha_stacks *stacks = ha_array(1, sizeof *stacks);
  stacks->row_count = ha_pprof_sample_count(b->profile);
  stacks->rows = ha_array(stacks->row_count, sizeof *stacks->rows);
  stacks->frames = ha_array(total, sizeof *stacks->frames);
  fill_rows(b, stacks);
  stacks->names = b->names.texts;
  stacks->name_count = b->names.count;
  b->names.texts = NULL;
  b->names.count = 0;
  return stacks;
}

struct ha_stacks *ha_stacks_new(const struct ha_pprof *profile, enum ha_name_form form) {
  struct builder b = {.profile = profile, .form = form};
  size_t count = ha_pprof_location_count(profile);
  b.drop = ha_drop_frames_new(ha_pprof_drop_frames(profile), ha_pprof_keep_frames(profile));
  name_functions(&b);
  b.locations = ha_array(count, sizeof *b.locations);
  for (size_t i = 0; i < count; i++)
    resolve_location(&b, i);
  struct ha_stacks *stacks = build_rows(&b);
  ha_drop_frames_free(b.drop);
  ha_names_done(&b.names);
  free(b.function_names);
  free(b.function_dropped);
  free(b.locations);
  free(b.line_names);
  return stacks;
}

void ha_stacks_free(struct ha_stacks *stacks) {
  for (size_t i = 0; i < stacks->name_count; i++)
    free((char *)stacks->names[i]);
  free(stacks->names);
  free(stacks->rows);
  free(stacks->frames);
  free(stacks);
}
