/* SPDX-License-Identifier: MIT */
/*
 * The registry of all heaps, and the pool of heaps that are borrowed for one allocation.
 *
 * Registry: heaps are opened for a thread and closed when it ends; a closed heap serves the next thread. They are
 * never freed, so statistics may walk them at any time without a lock.
 *
 * Pool: sampled blocks, and the blocks of threads whose heap is already closed, come from borrowed heaps. Whoever
 * holds one has it alone, for the length of one allocation and never while unwinding. There is always one to be
 * had without waiting: when all are out, another is made. So there are as many as threads ever sampled at once.
 */
#ifndef HA_ALLOC_HEAP_POOL_H
#define HA_ALLOC_HEAP_POOL_H

#include "alloc/heap.h"

/* A heap for the calling thread, NULL without memory. */
struct ha_heap *ha_heap_open(void);

/* Takes a heap back that ha_heap_close has emptied. */
void ha_heap_retire(struct ha_heap *heap);

/* Trims the heaps that lie in the pool. */
void ha_heap_trim_pooled(void);

/* NULL without memory. Does not wait unless a heap must be made. */
struct ha_heap *ha_heap_borrow(void);
void ha_heap_return(struct ha_heap *heap);

/* A page was queued for a heap of the pool. If nobody holds the heap now, the caller deals with its queue, so that
 * empty pages of samples do not wait for the next sample. */
void ha_heap_tend_pooled(struct ha_heap *heap);

/* Every heap that ever was, through next. */
struct ha_heap *ha_heap_first(void);

/* Heaps open for threads now. */
uint64_t ha_heap_thread_count(void);

/* In a forked child: only the calling thread's heap has a thread. */
void ha_heap_after_fork_in_child(void);

#endif
