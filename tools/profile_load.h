/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a profile file, with gzip undone.
 *
 * gzip is recognised by its first two bytes, anything else is taken as it is; several gzip members in a row
 * are one file. The result never exceeds HA_PROFILE_BYTES_MAX, so a small file that expands without end is
 * refused instead of filling the memory. A truncated or damaged gzip file is an error, never half a profile.
 */
#ifndef HA_TOOLS_PROFILE_LOAD_H
#define HA_TOOLS_PROFILE_LOAD_H

#include "base/compiler.h"

#define HA_PROFILE_BYTES_MAX ((size_t)1 << 30)

struct ha_file_bytes {
  unsigned char *bytes; /* free() it */
  size_t size;
};

/* NULL, or what is wrong with the file, as a phrase for a complaint. */
const char *ha_profile_load(const char *path, struct ha_file_bytes *ret_bytes);

#endif
