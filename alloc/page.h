/* SPDX-License-Identifier: MIT */
/*
 * A page: a run of 64 KiB slices that holds equal blocks, or one large block, or nothing (a free span).
 *
 * The descriptor lives apart from the blocks. A page of equal blocks belongs to one heap, which means one
 * thread at a time. Its blocks are always in one of four places:
 *
 *   alloc list   free blocks that malloc pops; only ever popped between refills. `credit` of them may be
 *                handed out without looking up, `held` more wait behind a sample that falls due in between.
 *   local list   blocks freed by the owner since the last refill.
 *   remote list  blocks freed by other threads, pushed with one compare-and-swap.
 *   in use       by the application.
 *
 *   cut                     = blocks cut so far, <= capacity
 *   carved                  = cut - parked blocks (park.h)
 *   pending + floor         = carved - |local list|
 *   credit + held           = |alloc list|
 *   blocks in use           = pending + floor - credit - held - |remote list|
 *   pending == 0            is what free looks for: with floor 0 every carved block is on the local list and the page is
 *                           empty; else it has become so empty that it is looked at. floor > 0 only on heap->lists
 *
 * `owner` is what free compares with the calling thread's heap: equal means the two-store fast path. It is
 * NULL for every page that needs a look: full pages, pages of samples, large blocks, pages without a thread.
 */
#ifndef HA_ALLOC_PAGE_H
#define HA_ALLOC_PAGE_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "sampler/sample.h"

#define HA_SLICE_SHIFT 16
#define HA_SLICE ((size_t)1 << HA_SLICE_SHIFT)
#define HA_MEDIUM_PAGE_SLICES 8

struct ha_heap;

struct ha_block {
  struct ha_block *next;
};

enum ha_page_kind {
  HA_PAGE_UNUSED, /* a descriptor waiting to be used */
  HA_PAGE_FREE,   /* a free span of an arena */
  HA_PAGE_BLOCKS, /* equal blocks */
  HA_PAGE_LARGE,  /* one block in an arena */
  HA_PAGE_HUGE,   /* one block in a mapping of its own */
};

/* On which list of its heap a page is; see heap_lists.h. */
enum ha_page_place {
  HA_PLACE_NONE, /* current, held by someone, or of no heap */
  HA_PLACE_LISTED,
  HA_PLACE_FULL, /* `owner` is NULL */
};

struct ha_page {
  /* Line 1: the owner thread's; statistics read it with relaxed loads. */
  struct ha_block *free;       /* alloc list */
  struct ha_block *local_free; /* local list */
  int32_t credit;              /* allocations granted; -1 for a moment when the fast path finds none */
  uint32_t pending;
  struct ha_heap
      *owner; /* atomic: other threads compare it, and see either NULL or a heap that is not theirs */
  uint16_t held;
  uint16_t cut;
  union {
    uint32_t carved;
    uint32_t resident; /* of a free span: OS pages that may be resident. HA_RANK_ARENA */
  };
  uint32_t version;    /* odd while several counts are being changed together, see ha_page_begin_change */
  uint16_t size_class; /* immutable while the page is in use, as are the next four */
  uint16_t capacity;
  uint8_t kind;      /* enum ha_page_kind */
  bool is_sampled;   /* all its blocks are samples: there is a record for each */
  bool is_fresh;     /* nothing of the span was resident: carved blocks are zero but for their link */
  bool is_zero;      /* owner: so is every block of the alloc list */
  uint8_t place;     /* heap->lists_lock: enum ha_page_place */
  uint8_t listed;    /* HA_RANK_ABANDONED: on which abandoned list, enum in abandoned.c */
  uint8_t listed_at; /* HA_RANK_ABANDONED: since when, seconds modulo 256 */
  bool is_far;       /* HA_RANK_ARENA: a page of samples cut from the far end of free space */
  size_t block_size;
  union {
    struct ha_sample **sample_chunks; /* of equal blocks that are sampled; see sampled.h */
    uint64_t *parked;                 /* of others: bit per parked block, or NULL */
  };

  /* Line 2: shared. */
  uint64_t remote;      /* atomic word, see remote.h */
  struct ha_heap *heap; /* atomic: the heap it belongs to; NULL when abandoned. Set under HA_RANK_ABANDONED or
                           by the owner at birth */
  char *start;          /* immutable while in use */
  union {
    struct {
      struct ha_page *next; /* list links: the heap's lists (owner), abandoned lists and bins (their lock) */
      struct ha_page *prev;
      struct ha_page *woken_next; /* whoever set QUEUED in `remote` */
    };
    struct ha_sample sample; /* of a large block, which is on no list */
  };
  uint32_t slices; /* HA_RANK_ARENA */
  uint16_t arena;  /* HA_RANK_ARENA: index, for spans */
  uint16_t floor;  /* owner: what is held back from pending */
} HA_CACHE_ALIGNED;

_Static_assert(sizeof(struct ha_page) == 2 * HA_CACHE_LINE, "a descriptor is two cache lines");

/* List of pages through next and prev; prev of the first page is the last. */
struct ha_page_list {
  struct ha_page *first;
};

void ha_page_list_push(struct ha_page_list *list, struct ha_page *page); /* at the end */
void ha_page_list_push_first(struct ha_page_list *list, struct ha_page *page);
void ha_page_list_remove(struct ha_page_list *list, struct ha_page *page);

/* Slices of a page of the class. */
size_t ha_page_slices(unsigned size_class);

/* Turns a fresh span, or an empty page, into an empty page of a size class. */
void ha_page_init(struct ha_page *page, unsigned size_class);

/* The owner changes more than one of credit, held, pending and remote only between these two, so that a reader can tell
 * whether what it has read belongs together: if the version was even and is the same still. Pairs with read_page in
 * stats.c. */
HA_INLINE void ha_page_begin_change(struct ha_page *page) {
  ha_store_relaxed(&page->version, page->version + 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);
}

HA_INLINE void ha_page_end_change(struct ha_page *page) {
  ha_store_release(&page->version, page->version + 1);
}

/* Whether what was read of a page since `version` belongs together. */
HA_INLINE bool ha_page_is_unchanged(const struct ha_page *page, uint32_t version) {
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return version % 2 == 0 && ha_load_relaxed(&page->version) == version;
}

/* A page whose blocks are used again and again is carved up to here ahead of need, so that its lists are not too short
 * and refills fewer: 16 blocks, but not beyond two OS pages. */
#define HA_PAGE_AHEAD_BLOCKS 16
#define HA_PAGE_AHEAD_BYTES ((size_t)8 * 1024)

HA_INLINE bool ha_page_wants_more(const struct ha_page *page) {
  return !page->is_sampled && page->cut < HA_PAGE_AHEAD_BLOCKS &&
         page->cut * page->block_size < HA_PAGE_AHEAD_BYTES && page->cut < page->capacity;
}

/* Owner, alloc list empty: makes a new alloc list of the local list, else of the remote list, else of blocks
 * not yet carved. False if there are none: the page is full. */
bool ha_page_refill(struct ha_page *page);

/* Owner: moves the remote list, and the alloc list if `all`, to the local list, so that `pending` tells
 * emptiness. */
void ha_page_gather(struct ha_page *page, bool all);

/* Index of a block, or -1 if the address is not the start of a carved block. */
long ha_page_block_index(const struct ha_page *page, const void *block);

/* The equations above; aborts when one is broken. Owner, debug builds. */
void ha_page_check(const struct ha_page *page);

#endif
