/* SPDX-License-Identifier: MIT */
/*
 * The label set that the calling thread's allocations carry.
 *
 * A label set is named by a 32-bit id; 0 is the empty set, which every thread starts with. Samples keep the id for
 * the life of their block, and the id is part of the key under which they are counted, so that sets never mix.
 */
#ifndef HA_LABELS_CONTEXT_H
#define HA_LABELS_CONTEXT_H

#include <stdint.h>

#define HA_LABEL_SET_EMPTY 0u

/* One thread-local load. Async-signal-safe. */
uint32_t ha_labels_current(void);

#endif
