/* SPDX-License-Identifier: MIT */
/*
 * The stacks of a profile as people read them: every frame has a name, and equal names have equal numbers.
 *
 * Built once from an open profile: functions are demangled, inlined calls become frames of their own, a frame
 * without a name is called `module+0xoffset` (an address that addr2line understands), and the frames that the
 * profile asks to drop are gone. A row is one sample; rows of equal stacks are not merged.
 * Cost: one word per frame of every sample, and each name once.
 */
#ifndef HA_TOOLS_STACKS_H
#define HA_TOOLS_STACKS_H

#include "tools/profile_reader.h"

struct ha_stacks_row {
  const uint32_t *frames; /* name numbers, innermost first */
  size_t frame_count;
  const int64_t *values; /* as many as the profile has sample types */
  int64_t block_size;
};

struct ha_stacks {
  const char **names;
  size_t name_count;
  struct ha_stacks_row *rows;
  size_t row_count;
  uint32_t *frames; /* those of all rows */
};

enum ha_name_form {
  HA_NAME_SHORT, /* what was demangled here loses its arguments, as in pprof's tables */
  HA_NAME_FULL,
};

/* NULL after one line on standard error: the stacks do not fit in memory. The rows point into the profile. */
struct ha_stacks *ha_stacks_new(const struct ha_pprof *profile, enum ha_name_form form);
void ha_stacks_free(struct ha_stacks *stacks);

#endif
