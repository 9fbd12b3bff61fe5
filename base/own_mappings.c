/* SPDX-License-Identifier: MIT */
/*
 * A list that only grows at its head.
 */
#include "base/own_mappings.h"

#include "base/atomic.h"

static struct ha_own_mapping *first; /* atomic */

void ha_own_mappings_add(struct ha_own_mapping *mapping, const void *start, size_t size) {
  mapping->start = start;
  mapping->size = size;
  struct ha_own_mapping *known = ha_load_relaxed(&first);
  do {
    mapping->next = known;
    /* Release: pairs with the acquire of the visitor, which sees the node whole. */
  } while (!ha_cas_weak_acq_rel(&first, &known, mapping));
}

void ha_own_mappings_visit(void (*visit)(const char *start, size_t size, void *arg), void *arg) {
  for (const struct ha_own_mapping *own = ha_load_acquire(&first); own != NULL; own = own->next) {
    visit(own->start, own->size, arg);
  }
}
