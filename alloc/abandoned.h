/* SPDX-License-Identifier: MIT */
/*
 * Pages whose thread has ended while blocks of theirs were in use.
 *
 * Such a page belongs to no heap. If it has free blocks it waits on the list of its size class, where any thread
 * that needs a page of that class takes it; and the next thread that frees a block of it adopts it. So the memory
 * of ended threads is used again by whoever runs, also when no thread is ever started again.
 */
#ifndef HA_ALLOC_ABANDONED_H
#define HA_ALLOC_ABANDONED_H

#include "alloc/page.h"

/* Owner, HA_RANK_ABANDONED held: lets go of the page, or releases it if it is empty. It is not to be touched after. */
void ha_abandoned_add_locked(struct ha_page *page);

/* A page of the class for the heap to own (its fields still as abandoned), or NULL. Cheap when there is none.
 */
struct ha_page *ha_abandoned_take(unsigned size_class, struct ha_heap *heap);

/* The page's QUEUED holder adopts it for the calling thread. False if it has an owner again. */
bool ha_abandoned_claim(struct ha_page *page);

/* Returns once no thread is in the middle of letting go of its pages. */
void ha_abandoned_wait(void);

#endif
