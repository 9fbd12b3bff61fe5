/* SPDX-License-Identifier: MIT */
/*
 * A heap: the pages of one thread, the way from a size to a block, and the countdowns to the next sample.
 *
 * malloc pops from the current page of a class while that page has credit; everything else is a slow path.
 * Credit is given by the refill: as many blocks as the page has, but never beyond the next one to be sampled.
 * So the fast path is the same whether sampling is on, off or absent, and the object that is due enters the
 * slow path itself.
 *
 *   granted[c] - credit of current[c]    = blocks of class c that the heap has handed out, ever
 *   credit > 0                           only on current pages
 *   pages with room                      are current or on lists[c]; the others are on `full`
 *
 * Heaps are never freed: a thread that ends gives its pages up and its heap to the next thread. Two more
 * kinds of use exist: heaps that are borrowed for one allocation at a time (heap_pool.h), whose pages have no
 * `owner`. Cost: 4 KiB per thread, plus the pages in use.
 */
#ifndef HA_ALLOC_HEAP_H
#define HA_ALLOC_HEAP_H

#include "alloc/outbox.h"
#include "alloc/page.h"
#include "alloc/size_class.h"
#include "base/random.h"

#define HA_DIRECT_COUNT (HA_DIRECT_MAX / HA_BLOCK_ALIGNMENT + 1)

struct ha_heap {
  struct ha_page *direct[HA_DIRECT_COUNT];   /* current page by size in 16-byte units */
  struct ha_page *current[HA_CLASS_COUNT];   /* never NULL: a class without a page has the empty page */
  struct ha_page_list lists[HA_CLASS_COUNT]; /* pages with room that are not current; lists_lock */
  int64_t countdown[HA_CLASS_COUNT];         /* objects until the next sample, beyond what is granted */
  uint64_t granted[HA_CLASS_COUNT];          /* owner writes, statistics read */
  struct ha_page_list full;                  /* pages without room; lists_lock */
  uint32_t lists_lock; /* atomic: 0, or taken to change `lists` or `full`; see heap_lists.c */
  uint32_t tends;      /* atomic: how often the owner has looked at `woken` */
  uint32_t tends_seen; /* HA_RANK_ABANDONED: that number when it was last compared */
  struct ha_random random;
  int64_t rate;                /* the rate the countdowns were drawn with */
  uint32_t rate_epoch;         /* 0: never drawn */
  uint32_t trim_epoch;         /* the last request to trim that was met */
  bool is_borrowed;            /* belongs to the pool: no sampling, no fast frees */
  uint16_t taken_from;         /* borrowed: the class whose empty page last became another's */
  uint16_t parked_class;       /* owner: where ha_heap_park goes on */
  const void *thread;          /* atomic: the descriptor of the thread that it is open for, which lies at the top of its
                                  stack; NULL for the main thread, and while there is none */
  struct ha_heap *next;        /* in the registry; immutable once published */
  struct ha_heap *next_unused; /* HA_RANK_HEAPS */
  struct ha_outbox outbox;
  struct ha_page *woken HA_CACHE_ALIGNED; /* atomic: pages queued by other threads; HA_HEAP_CLOSED while no
                                             thread owns the heap */
};

_Static_assert(sizeof(struct ha_heap) <= 4096, "a heap is one OS page");

#define HA_HEAP_CLOSED ((struct ha_page *)1)

/* The calling thread's heap; the empty heap before its first allocation and after its end. */
extern HA_TLS struct ha_heap *ha_thread_heap;
extern struct ha_heap ha_empty_heap;
extern struct ha_page ha_empty_page;

/* Pops the next block of a page that has one on its alloc list. */
HA_INLINE void *ha_page_pop(struct ha_page *page) {
  struct ha_block *block = page->free;
  page->free = block->next;
  return block;
}

/* Takes one credit; false when the slow path must decide. Credit then stays negative until it does. */
HA_INLINE bool ha_page_take_credit(struct ha_page *page) {
  return ha_likely(--page->credit >= 0);
}

/* A block of the class by the slow path: samples when due, refills, takes pages. NULL without memory. */
void *ha_heap_alloc(struct ha_heap *heap, unsigned size_class, size_t requested);

/* The page of a local free became empty; page is not necessarily kept. */
void ha_heap_page_emptied(struct ha_heap *heap, struct ha_page *page);

/* A free by the owner that the fast path could not do: the page was full. False if the page is not the heap's any more. */
bool ha_heap_free_to_full(struct ha_heap *heap, struct ha_page *page, struct ha_block *block);

/* Blocks of the class that the heap has handed out. Owner; others may see a number of the past. */
HA_INLINE uint64_t ha_heap_mallocs(const struct ha_heap *heap, unsigned size_class) {
  const struct ha_page *page = ha_load_relaxed(&heap->current[size_class]);
  int32_t credit = page != &ha_empty_page ? page->credit : 0;
  return ha_load_relaxed(&heap->granted[size_class]) - (credit > 0 ? (uint64_t)credit : 0);
}

/* Takes over a page that was claimed for this heap. */
void ha_heap_adopt(struct ha_heap *heap, struct ha_page *page);

/* Queues a page with QUEUED set for its owner; false if the heap is closed. Any thread. */
bool ha_heap_wake(struct ha_heap *heap, struct ha_page *page);

/* Bytes of the pages in all queues; and what came or went. Any thread. */
uint64_t ha_heap_queued_bytes(void);
void ha_heap_note_queued(int64_t slices);

/* Deals with the pages that other threads queued, if there are any. Owner. */
void ha_heap_tend(struct ha_heap *heap);

/* Gives back every page without blocks in use, also those kept for the next allocations of their class. Owner. About a
 * microsecond. */
void ha_heap_trim(struct ha_heap *heap);

/* Gives back the free OS pages inside the pages with room, of max_pages of them. Owner. Some microseconds for each. */
void ha_heap_park(struct ha_heap *heap, size_t max_pages);

/* All heaps trim and park with their next slow path. Any thread. */
void ha_heap_ask_all_to_trim(void);

/* Takes back all credit and draws all countdowns with the current rate. Owner. */
void ha_heap_redraw(struct ha_heap *heap);

/* Gives up all pages; the heap can be used again by ha_heap_open. Owner. */
void ha_heap_close(struct ha_heap *heap);

/* The calling thread's heap, or NULL if it has none (yet, or any more). */
struct ha_heap *ha_heap_of_thread(void);

#endif
