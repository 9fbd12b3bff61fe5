/* SPDX-License-Identifier: MIT */
/*
 * The executable files in this process's address space, as /proc/self/maps shows them.
 *
 * One mapping per executable, file-backed line, with its bounds exactly as they stand there (page aligned)
 * and the build id of its file; neighbours are not merged. The kernel's [vdso] is kept, anonymous code is
 * not. The main program comes first, the rest in address order. The list is a snapshot: code that is loaded
 * or unloaded later is not followed. Costs one read of the maps and a few small reads per mapping.
 */
#ifndef HA_PROTO_MAPPINGS_H
#define HA_PROTO_MAPPINGS_H

#include <stdbool.h>

#include "proto/blob.h"

#define HA_MAPS_PATH "/proc/self/maps"

struct ha_mapping {
  uintptr_t start;
  uintptr_t limit;
  uint64_t offset; /* what start shows of the file */
  uint64_t device; /* as in the maps, only to be compared with each other */
  uint64_t inode;
  const char *path;     /* without the " (deleted)" that the kernel adds */
  const char *build_id; /* lowercase hex, "" when there is none */
  uintptr_t bias;       /* has_bias: address = ELF virtual address + bias, modulo the word size */
  bool has_bias;
  bool is_deleted; /* the path names no file any more, or another one */
};

struct ha_mappings {
  struct ha_mapping *items;
  uint32_t count;
};

/* One line of the maps; path points into it. */
struct ha_maps_line {
  uintptr_t start;
  uintptr_t limit;
  bool is_executable;
  uint64_t offset;
  uint64_t device;
  uint64_t inode;
  const char *path;
  size_t path_size;
  bool is_deleted;
};

/* Reads and parses; 0 or -ENOMEM. Without /proc the list is empty. */
int ha_mappings_read(struct ha_scratch *scratch, struct ha_mappings *ret_mappings);
/* The same from a text of that form; lines of another form are skipped. */
int ha_mappings_parse(struct ha_scratch *scratch, const char *text, size_t size,
                      struct ha_mappings *ret_mappings);
/* False: not a line of the maps. The line is without its newline. */
bool ha_maps_parse_line(const char *line, size_t size, struct ha_maps_line *ret_line);

#endif
