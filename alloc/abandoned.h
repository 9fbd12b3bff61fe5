/* SPDX-License-Identifier: MIT */
/*
 * Pages without a thread: those of ended threads, and those that have become sparse.
 *
 * Such a page belongs to no heap. If it has free blocks it lies on a list of its size class, where any thread that
 * needs a page of that class takes it. A page of an ended thread is adopted by the next thread that frees a block of
 * it, so the memory of ended threads is used again by whoever runs, also when no thread is ever started again. A
 * sparse page (one that its thread has given up with an eighth in use or less, see heap.c) is left alone until its last
 * block is freed; once looked at, until so many are free that it should be looked at again.
 *
 * Whoever releases memory can look into listed pages, since no thread owns them: after two seconds the OS pages that
 * are wholly free are given back (park.h). That is why threads give sparse pages up: memory they do not use is then
 * returned although they do nothing. From a thread that does nothing, full pages into which others have freed blocks and
 * pages of which no block is in use are taken. What stays with it are its current pages, and pages with room into which
 * it has itself freed blocks, as long as any block of them is in use.
 */
#ifndef HA_ALLOC_ABANDONED_H
#define HA_ALLOC_ABANDONED_H

#include "alloc/page.h"

/* Owner, HA_RANK_ABANDONED held: lets go of the page, or releases it if it is empty. It is not to be touched after. */
void ha_abandoned_add_locked(struct ha_page *page);

/* The same for a sparse page of the calling thread, which holds no lock. */
void ha_abandoned_add_sparse(struct ha_page *page);

/* Takes full pages into which others have freed blocks, and pages that others have emptied, from a heap whose owner does
 * not look at them: for a full round between two calls, or, if `at_once`, at all. They are listed as sparse ones are. */
void ha_abandoned_take_from_idle(struct ha_heap *heap, bool at_once);

/* Gives back the free OS pages of up to max_pages pages that have been listed for two seconds, or, if `all`, for any
 * time, also of those looked at before. Returns how many pages it looked at; *ret_bytes rises by what was released. */
size_t ha_abandoned_release(bool all, size_t max_pages, size_t *ret_bytes);

/* Bytes of pages that are yet to be looked at. */
uint64_t ha_abandoned_waiting_bytes(void);

/* A page of the class for the heap to own (its fields still as abandoned), or NULL. Cheap when there is none.
 */
struct ha_page *ha_abandoned_take(unsigned size_class, struct ha_heap *heap);

/* The page's QUEUED holder adopts it for the calling thread; one that was looked at is listed again to be looked at. False if
 * it has an owner again. */
bool ha_abandoned_claim(struct ha_page *page);

/* Returns once no thread is in the middle of letting go of its pages. False if the page will not be let go of: its heap is
 * closed, by a thread that this process does not have. */
bool ha_abandoned_wait(const struct ha_page *page);

#endif
