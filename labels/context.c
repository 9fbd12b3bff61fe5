/* SPDX-License-Identifier: MIT */
/*
 * The thread's current label set: one initial-exec thread-local word, read when a sample is taken and never on
 * the way of an ordinary allocation.
 */
#include "labels/context.h"

#include "base/compiler.h"

static HA_TLS uint32_t current = HA_LABEL_SET_EMPTY;

uint32_t ha_labels_current(void) {
  return current;
}
