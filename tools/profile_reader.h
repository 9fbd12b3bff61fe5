/* SPDX-License-Identifier: MIT */
/*
 * A profile read from a file in the pprof format, checked so that its users need not check anything.
 *
 * After a successful open every number that refers to a table entry has been verified and replaced by the
 * entry's place in its table, so following it is plain array access: strings are real strings, samples have
 * as many values as the profile has sample types, and locations, functions and mappings exist. Locations and
 * functions that a sample refers to by id are found in constant time. The whole profile is in memory, at most
 * HA_PROFILE_BYTES_MAX of encoded bytes and HA_PROFILE_MEMORY_MAX of decoded ones; larger or malformed files
 * are refused in one line.
 *
 * Values of the profile are used as they are: they may be negative (differences), and their sums may wrap.
 */
#ifndef HA_TOOLS_PROFILE_READER_H
#define HA_TOOLS_PROFILE_READER_H

#include "base/compiler.h"

#define HA_PROFILE_MEMORY_MAX ((size_t)2 << 30)
/* A location without a mapping, a line without a function. */
#define HA_PPROF_NONE UINT32_MAX

struct ha_pprof;

struct ha_pprof_type {
  const char *type; /* "inuse_space" */
  const char *unit; /* "bytes" */
};

struct ha_pprof_sample {
  const uint64_t *locations; /* numbers for ha_pprof_location, innermost first */
  size_t location_count;
  const int64_t *values;
  int64_t block_size; /* numeric label "bytes", or 0 */
};

struct ha_pprof_location {
  uint64_t address;
  uint32_t mapping;  /* number for ha_pprof_mapping, or HA_PPROF_NONE */
  size_t line_count; /* 0: no names; several: inlined calls, innermost first */
};

struct ha_pprof_mapping {
  const char *filename;
  uint64_t start, limit, file_offset;
};

struct ha_pprof_function {
  const char *name;        /* may be "" */
  const char *system_name; /* may be "" */
};

/* NULL after one line on standard error that names the file and the reason. */
struct ha_pprof *ha_pprof_open(const char *path);
void ha_pprof_free(struct ha_pprof *profile);

size_t ha_pprof_type_count(const struct ha_pprof *profile);
struct ha_pprof_type ha_pprof_type(const struct ha_pprof *profile, size_t index);
/* The place of a sample type, or -1. NULL asks for the type shown first: the default one, else the last. */
int ha_pprof_find_type(const struct ha_pprof *profile, const char *name);

size_t ha_pprof_sample_count(const struct ha_pprof *profile);
struct ha_pprof_sample ha_pprof_sample(const struct ha_pprof *profile, size_t index);

size_t ha_pprof_location_count(const struct ha_pprof *profile);
struct ha_pprof_location ha_pprof_location(const struct ha_pprof *profile, size_t index);
/* The function of a line of a location, or HA_PPROF_NONE. */
uint32_t ha_pprof_line_function(const struct ha_pprof *profile, size_t location, size_t line);

size_t ha_pprof_function_count(const struct ha_pprof *profile);
struct ha_pprof_function ha_pprof_function(const struct ha_pprof *profile, size_t index);
size_t ha_pprof_mapping_count(const struct ha_pprof *profile);
struct ha_pprof_mapping ha_pprof_mapping(const struct ha_pprof *profile, size_t index);

size_t ha_pprof_comment_count(const struct ha_pprof *profile);
const char *ha_pprof_comment(const struct ha_pprof *profile, size_t index);

const char *ha_pprof_drop_frames(const struct ha_pprof *profile); /* "" when there is none */
const char *ha_pprof_keep_frames(const struct ha_pprof *profile);
int64_t ha_pprof_time_nanos(const struct ha_pprof *profile);
int64_t ha_pprof_duration_nanos(const struct ha_pprof *profile);
int64_t ha_pprof_period(const struct ha_pprof *profile);

#endif
