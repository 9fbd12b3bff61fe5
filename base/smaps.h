/* SPDX-License-Identifier: MIT */
/*
 * The mappings of the process with their resident bytes, from /proc/self/smaps.
 *
 * The kernel walks the page tables for it: some 16 ms for each GiB that is resident, during which other threads cannot
 * map or unmap. Each mapping is right by itself; the list as a whole is not of one instant. Never calls malloc.
 */
#ifndef HA_BASE_SMAPS_H
#define HA_BASE_SMAPS_H

#include "base/compiler.h"

#define HA_SMAPS_NAME_MAX 64
/* Holds the longest line, and enough to read with few calls. */
#define HA_SMAPS_BUFFER ((size_t)32 * 1024)

struct ha_smaps_mapping {
  uintptr_t start;
  uintptr_t limit;
  bool is_file;                 /* of a file, or the kernel's code ([vdso] and the like) */
  uint64_t resident;            /* bytes */
  char name[HA_SMAPS_NAME_MAX]; /* the last part of the path, cut; "[stack]"; "" for anonymous memory */
};

typedef void ha_smaps_fn(const struct ha_smaps_mapping *mapping, void *arg);

/* Hands over every mapping, in the order of the addresses. buffer: HA_SMAPS_BUFFER bytes. 0 or -errno. */
int ha_smaps_read(char *buffer, ha_smaps_fn *fn, void *arg);

/* The same from a file of that form. */
int ha_smaps_read_from(int fd, char *buffer, ha_smaps_fn *fn, void *arg);

/* What has been read of the current mapping. Begins as zeros. */
struct ha_smaps_parser {
  struct ha_smaps_mapping mapping;
  bool has_mapping;
};

/* One line, without its newline; lines of other forms are skipped. */
void ha_smaps_parse_line(struct ha_smaps_parser *parser, const char *line, size_t size, ha_smaps_fn *fn,
                         void *arg);

#endif
