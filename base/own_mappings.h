/* SPDX-License-Identifier: MIT */
/*
 * The list of what the library has mapped for its own tables, for those who ask where the memory of the process is.
 *
 * Whoever maps such memory adds it once, with a node that lives in the mapping or as long as it. Nothing is ever taken
 * off, since such memory is never returned. Adding is one compare-and-swap, visiting takes no lock.
 */
#ifndef HA_BASE_OWN_MAPPINGS_H
#define HA_BASE_OWN_MAPPINGS_H

#include "base/compiler.h"

struct ha_own_mapping {
  struct ha_own_mapping *next; /* immutable once published, as the next two */
  const char *start;
  size_t size;
};

void ha_own_mappings_add(struct ha_own_mapping *mapping, const void *start, size_t size);

void ha_own_mappings_visit(void (*visit)(const char *start, size_t size, void *arg), void *arg);

#endif
