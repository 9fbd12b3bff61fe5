/* SPDX-License-Identifier: MIT */
/*
 * A thread's beginning and end, and the library's.
 *
 * A thread gets its heap at its first allocation and gives it up in the last round of pthread key destructors, so
 * that other libraries' destructors still find it. What a thread allocates after that, it allocates without a heap.
 */
#ifndef HA_ALLOC_THREAD_H
#define HA_ALLOC_THREAD_H

#include "alloc/heap.h"

/* Reads the configuration and prepares for threads, unless that is done. The process's first allocation does
 * it; a process that makes none calls it before it looks at the configuration. */
void ha_initialize(void);

/* The calling thread's heap, made if need be; NULL after the thread's end or without memory. */
struct ha_heap *ha_thread_heap_or_new(void);

#endif
