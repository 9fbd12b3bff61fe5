/* SPDX-License-Identifier: MIT */
/*
 * A table of names in which every name occurs once and is known by its number, 0 and up.
 */
#ifndef HA_TOOLS_NAMES_H
#define HA_TOOLS_NAMES_H

#include "base/compiler.h"

struct ha_names {
  const char **texts; /* by number; owned */
  uint32_t count;
  size_t capacity;
  uint32_t *slots; /* open addressing; number + 1, or 0 */
  size_t slot_count;
};

/* The number of the name; the table takes text over and frees it when it has the name already. */
uint32_t ha_names_add(struct ha_names *names, char *text);
void ha_names_done(struct ha_names *names);

#endif
