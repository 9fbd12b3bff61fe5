/* SPDX-License-Identifier: MIT */
/*
 * The ranges that are known are gathered and sorted first; the mappings then come in the same order, so that one pass
 * over both is enough. What is mapped between gathering and reading is counted as foreign.
 */
#include "serve/rss_mappings.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "alloc/footprint.h"
#include "base/os.h"
#include "base/own_mappings.h"
#include "base/process.h"
#include "base/smaps.h"
#include "base/sort.h"

/* Room for what comes between counting and gathering. */
#define SPARE_RANGES 64
static const char library_prefix[] = "libhalloc";

enum kind { KIND_HEAP, KIND_OWN, KIND_STACKS, KIND_FILES, KIND_ANONYMOUS, KIND_COUNT };

struct range {
  uintptr_t start;
  uintptr_t end; /* of a stack: where its thread's descriptor ends */
  enum kind kind;
};

struct reader {
  struct range *ranges;
  struct ha_sort_item *order; /* ranges by start */
  size_t count, room;
  size_t next; /* the first in order that may reach into the mappings to come */
  uint64_t resident[KIND_COUNT];
  uintptr_t scratch;    /* an address in the memory of this profile */
  uintptr_t file_limit; /* where the last file's mapping ends, and whose it is */
  enum kind file_kind;
};

/* Gathering. Without room, ranges are only counted. */

static void add_range(struct reader *reader, uintptr_t start, size_t size, enum kind kind) {
  if (reader->count < reader->room) {
    reader->ranges[reader->count] = (struct range){start, start + size, kind};
    reader->order[reader->count] = (struct ha_sort_item){start, (uint32_t)reader->count};
  }
  reader->count++;
}

static void add_heap(const char *start, size_t size, void *reader) {
  add_range(reader, (uintptr_t)start, size, KIND_HEAP);
}

static void add_own(const char *start, size_t size, void *reader) {
  add_range(reader, (uintptr_t)start, size, KIND_OWN);
}

static void add_thread(const void *thread, void *reader) {
  add_range(reader, (uintptr_t)thread, HA_OS_PAGE, KIND_STACKS);
}

static void gather(struct reader *reader) {
  reader->count = 0;
  ha_own_mappings_visit(add_own, reader);
  ha_footprint_ranges(add_heap, reader);
  ha_footprint_threads(add_thread, reader);
}

static int gather_sorted(struct reader *reader, const struct ha_kind_memory *memory) {
  gather(reader);
  reader->room = reader->count + reader->count / 8 + SPARE_RANGES;
  reader->ranges = ha_kind_alloc(memory, reader->room * sizeof *reader->ranges);
  reader->order = ha_kind_alloc(memory, reader->room * sizeof *reader->order);
  if (reader->ranges == NULL || reader->order == NULL) {
    return -ENOMEM;
  }
  gather(reader);
  reader->count = reader->count < reader->room ? reader->count : reader->room;
  ha_sort(reader->order, reader->count);
  return 0;
}

/* Classifying. */

static uint64_t count_resident(uintptr_t start, uintptr_t end) {
  size_t pages;
  bool is_known = ha_os_count_resident((const void *)start, end - start, &pages);
  return is_known ? pages * HA_OS_PAGE : end - start;
}

static const struct range *range_at(const struct reader *reader, size_t place) {
  return &reader->ranges[reader->order[place].index];
}

/* The part of a mapping that a range covers and nothing below `done`. */
static struct range part_of(const struct range *range, const struct ha_smaps_mapping *mapping,
                            uintptr_t done) {
  struct range part = *range;
  if (part.kind == KIND_STACKS || part.start < done) {
    part.start = done;
  }
  part.end = ha_align_up(part.end, HA_OS_PAGE);
  part.end = part.end < mapping->limit ? part.end : mapping->limit;
  return part;
}

/* Gives a part of what is left of the mapping's resident bytes to a kind. */
static void give(struct reader *reader, enum kind kind, uint64_t bytes, uint64_t *left) {
  bytes = bytes < *left ? bytes : *left;
  reader->resident[kind] += bytes;
  *left -= bytes;
}

/* Zeroed data of the object whose file is mapped right before; as much of the mapping as the object has. */
static void give_zeroed_data(struct reader *reader, const struct ha_smaps_mapping *mapping, uint64_t *left) {
  struct dl_find_object object;
  if (mapping->start != reader->file_limit || _dl_find_object((void *)mapping->start, &object) != 0) {
    return;
  }
  uintptr_t end = ha_align_up((uintptr_t)object.dlfo_map_end, HA_OS_PAGE);
  give(reader, reader->file_kind, end < mapping->limit ? count_resident(mapping->start, end) : *left, left);
}

/* What no range covers. */
static void give_rest(struct reader *reader, const struct ha_smaps_mapping *mapping, uint64_t *left) {
  bool is_of_profile = mapping->start <= reader->scratch && reader->scratch < mapping->limit;
  if (mapping->is_file) {
    bool is_own = strncmp(mapping->name, library_prefix, sizeof library_prefix - 1) == 0;
    reader->file_limit = mapping->limit;
    reader->file_kind = is_own ? KIND_OWN : KIND_FILES;
    give(reader, reader->file_kind, *left, left);
  } else if (strcmp(mapping->name, "[stack]") == 0) {
    give(reader, KIND_STACKS, *left, left);
  } else {
    give_zeroed_data(reader, mapping, left);
    give(reader, is_of_profile ? KIND_OWN : KIND_ANONYMOUS, *left, left);
  }
}

/* The parts come in order; a stack reaches down to the part before it, or to the start. */
static void add_mapping(const struct ha_smaps_mapping *mapping, void *arg) {
  struct reader *reader = arg;
  uint64_t left = mapping->resident;
  uintptr_t done = mapping->start;
  while (reader->next < reader->count && range_at(reader, reader->next)->end <= mapping->start) {
    reader->next++;
  }
  for (size_t i = reader->next; i < reader->count && range_at(reader, i)->start < mapping->limit; i++) {
    struct range part = part_of(range_at(reader, i), mapping, done);
    if (part.start >= part.end) {
      continue;
    }
    bool is_whole = part.start == mapping->start && part.end == mapping->limit;
    give(reader, part.kind, is_whole ? left : count_resident(part.start, part.end), &left);
    done = part.end;
  }
  give_rest(reader, mapping, &left);
}

int ha_rss_mappings_read(struct ha_rss_mappings *mappings, const struct ha_kind_memory *memory) {
  struct reader *reader = ha_kind_alloc(memory, sizeof *reader);
  char *buffer = ha_kind_alloc(memory, HA_SMAPS_BUFFER);
  int error = reader != NULL && buffer != NULL ? gather_sorted(reader, memory) : -ENOMEM;
  if (error != 0) {
    return error;
  }
  reader->scratch = (uintptr_t)reader;
  error = ha_smaps_read(buffer, add_mapping, reader);
  if (error != 0) {
    return error;
  }
  const uint64_t *resident = reader->resident;
  *mappings = (struct ha_rss_mappings){.heap = resident[KIND_HEAP],
                                       .own = resident[KIND_OWN],
                                       .stacks = resident[KIND_STACKS],
                                       .files = resident[KIND_FILES],
                                       .anonymous = resident[KIND_ANONYMOUS],
                                       .process = ha_process_rss()};
  for (int kind = 0; kind < KIND_COUNT; kind++) {
    mappings->total += resident[kind];
  }
  return 0;
}
