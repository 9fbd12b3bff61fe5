/* SPDX-License-Identifier: MIT */
/*
 * Arenas and spans: the address space that pages and large blocks are cut from.
 *
 * An arena is a range of slices. Free runs of slices are spans with a descriptor of kind HA_PAGE_FREE, kept in bins
 * by length and merged with their free neighbours at once, so no two free spans of an arena touch. Arenas grow
 * geometrically and are never given up; what of them takes memory is told by resident.h.
 *
 *   sum of slices of all arenas = slices in use + slices of free spans
 *
 * All functions but the readers of statistics need HA_RANK_ARENA, which they take themselves unless named _locked.
 */
#ifndef HA_ALLOC_ARENA_H
#define HA_ALLOC_ARENA_H

#include "alloc/page.h"

/* Blocks above this get a mapping of their own. */
#define HA_HUGE_MIN ((size_t)32 * 1024 * 1024)

/* A span of that many slices whose start is a multiple of alignment (a power of two, at least a slice). kind
 * is HA_PAGE_UNUSED still, and slots are set only for the first slice. NULL with no memory. */
struct ha_page *ha_span_alloc_locked(size_t slices, size_t alignment);

/* The same from the arenas there are, without asking the kernel for more. */
struct ha_page *ha_span_reuse_locked(size_t slices, size_t alignment);

/* Returns a span; its slots may still be set. */
void ha_span_free_locked(struct ha_page *span);

/* Takes the largest free span of which something is resident out of circulation, NULL if there is none; and puts it
 * back when `released` of its OS pages are so no more. In between it counts as idle still. */
struct ha_page *ha_span_withdraw_resident_locked(void);
void ha_span_return_locked(struct ha_page *span, size_t released);

/* Whether a span is out of circulation now. Who has found no other waits for HA_RANK_RELEASE and tries again under it. */
bool ha_span_is_withdrawn_locked(void);

/* Makes a used span longer in place if the slices behind it are free. */
bool ha_span_extend_locked(struct ha_page *span, size_t slices);

/* A page of equal blocks, mapped for all its slices; and its way back. Small pages of samples hold few blocks: they are
 * cut from the far end of the largest free span, where memory is mostly untouched, so that they do not sit on slices whose
 * memory others have used and could use again. */
struct ha_page *ha_page_alloc(unsigned size_class, bool for_samples);
void ha_page_release(struct ha_page *page);

/* Slices of arenas; those of free spans; resident OS pages in free spans. Read without the lock. */
struct ha_arena_totals {
  uint64_t slices;
  uint64_t free_slices;
  uint64_t free_resident;
};
struct ha_arena_totals ha_arena_totals(void);

/* Visits the address ranges of all arenas. Takes the lock. */
void ha_arena_visit(void (*visit)(const char *start, size_t size, void *arg), void *arg);

/* The most slices in use since the last call. */
uint64_t ha_arena_take_peak(void);

#endif
