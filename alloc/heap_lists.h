/* SPDX-License-Identifier: MIT */
/*
 * The pages of a heap that are not current: those with room, by size class, and the full ones.
 *
 * The owner puts pages there and pulls them out. Another thread may take one when the owner does nothing: a full page
 * into which others have freed blocks, and a page of which no block is in use. The owner's frees take no lock, but into
 * a full page they do not go, and of a page without blocks in use there is nothing to free; all else that changes a
 * listed page holds the heap's lists_lock. So `place` tells, under that lock, whether a page is still there.
 *
 * The lock is taken for a page, not for a block, and is held for some list links; only who takes looks at up to
 * HA_LOOKS_AT_ONCE pages under it. Who takes holds HA_RANK_ABANDONED besides.
 */
#ifndef HA_ALLOC_HEAP_LISTS_H
#define HA_ALLOC_HEAP_LISTS_H

#include "alloc/heap.h"

#define HA_LOOKS_AT_ONCE 16

/* Owner: puts a page with room on its list. One of which most is in use gets a floor under its pending count, so that
 * the free that makes it sparse comes to ha_heap_page_emptied, and not only the last one. */
void ha_heap_put(struct ha_heap *heap, struct ha_page *page);

/* Owner: puts a page without free blocks on the full list. False if blocks came back meanwhile. */
bool ha_heap_put_full(struct ha_heap *heap, struct ha_page *page);

/* Owner: pulls a page out; false if it was taken. A page's floor goes when it is pulled or taken. */
bool ha_heap_pull(struct ha_heap *heap, struct ha_page *page);

/* The same, of a page whose pending count has become 0. *ret_is_spare: it is only sparse, and the heap has enough other
 * pages of its class. */
bool ha_heap_pull_emptied(struct ha_heap *heap, struct ha_page *page, bool *ret_is_spare);

/* Owner: pulls the first page of a class, or the first if no block of it is in use; NULL if there is none. */
struct ha_page *ha_heap_pull_first(struct ha_heap *heap, unsigned size_class);
struct ha_page *ha_heap_pull_empty(struct ha_heap *heap, unsigned size_class);

/* Owner: how many pages with room of a class there are, up to `most`. */
size_t ha_heap_count_listed(struct ha_heap *heap, unsigned size_class, size_t most);

/* Any thread, HA_RANK_ABANDONED held: takes a page of the heap's queue if it is full or no block of it is in use. */
bool ha_heap_take_queued_locked(struct ha_heap *heap, struct ha_page *page);

/* A walk over a list that goes on under the lock for HA_LOOKS_AT_ONCE pages at a time; pages looked at go to the end. */
struct ha_list_walk {
  const struct ha_page *start; /* the first that stayed: where it ends */
  size_t looks;
  bool is_over;
};

/* The same for pages with room that are not queued: NULL if there is none among the next ones of the walk. */
struct ha_page *ha_heap_take_unused_locked(struct ha_heap *heap, unsigned size_class,
                                           struct ha_list_walk *walk);

/* The page is on no list any more. */
void ha_page_raise_floor(struct ha_page *page);

/* Whether no block is in use. Who holds the page. */
bool ha_page_is_unused(const struct ha_page *page);

#endif
