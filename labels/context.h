/* SPDX-License-Identifier: MIT */
/*
 * The label set that the calling thread's allocations carry.
 *
 * Samples keep the id for the life of their block, and the id is part of the key under which they are
 * counted, so that sets never mix. A thread begins with the set of the thread that created it (threads.c),
 * any other with the empty set.
 */
#ifndef HA_LABELS_CONTEXT_H
#define HA_LABELS_CONTEXT_H

#include "base/compiler.h"
#include "labels/set.h"

/* Written by its thread only. */
extern HA_TLS uint32_t ha_labels_id;

/* One thread-local load. Async-signal-safe. */
uint32_t ha_labels_current(void);

/* Calls fn(arg) and then makes `before` the thread's set, however fn is left but for longjmp. */
void ha_labels_call(void (*fn)(void *arg), void *arg, uint32_t before);

#endif
