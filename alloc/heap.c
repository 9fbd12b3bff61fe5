/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of one heap. All but ha_heap_wake run on the thread that owns the heap.
 */
#include "alloc/heap.h"

#include "alloc/abandoned.h"
#include "alloc/arena.h"
#include "alloc/heap_lists.h"
#include "alloc/limit.h"
#include "alloc/park.h"
#include "alloc/release.h"
#include "alloc/remote.h"
#include "alloc/sampled.h"
#include "base/lock.h"
#include "base/os.h"
#include "sampler/interval.h"

/* Pages that a thread looks into when all are asked for memory. */
#define PARKED_WHEN_ASKED 64

/* A program that allocates blocks of few sizes finds the page for its next sample ready; one of many sizes need not hold a
 * page for each. */
#define EMPTY_SAMPLE_PAGES_MAX 8

HA_TLS struct ha_heap *ha_thread_heap = &ha_empty_heap;

/* Stands for "no page": it never has credit, so the first allocation of a class takes the slow path. Threads
 * decrement its credit without order; it only has to stay negative or zero, and every slow path resets it. */
struct ha_page ha_empty_page;

struct ha_heap ha_empty_heap = {
    .direct = {[0 ... HA_DIRECT_COUNT - 1] = &ha_empty_page},
    .current = {[0 ... HA_CLASS_COUNT - 1] = &ha_empty_page},
    .woken = HA_HEAP_CLOSED,
};

static void check(const struct ha_page *page) {
  if (HA_CHECKS && page != &ha_empty_page) {
    ha_page_check(page);
  }
}

static void set_current(struct ha_heap *heap, unsigned size_class, struct ha_page *page) {
  ha_store_relaxed(&heap->current[size_class], page);
  size_t largest = ha_class_size(size_class);
  if (largest <= HA_DIRECT_MAX) {
    size_t smallest = size_class == 0 ? 0 : ha_class_size(size_class - 1) + 1;
    for (size_t i = ha_align_up(smallest, HA_BLOCK_ALIGNMENT); i <= largest; i += HA_BLOCK_ALIGNMENT) {
      heap->direct[i / HA_BLOCK_ALIGNMENT] = page;
    }
  }
}

/* What `owner` says of a page that this heap has room in. */
static void show_owner(struct ha_heap *heap, struct ha_page *page) {
  ha_store_relaxed(&page->owner, heap->is_borrowed || page->is_sampled ? NULL : heap);
}

/* To the arena, from no list. */
static void give_back(struct ha_page *page) {
  ha_sampled_page_done(page);
  ha_page_release(page);
}

/* Gives a page that no longer has blocks in use back, unless it is kept for the next allocations of its class. */
static bool release_if_empty(struct ha_heap *heap, struct ha_page *page) {
  bool is_only = ha_load_relaxed(&heap->lists[page->size_class].first) == NULL;
  if (!ha_page_is_unused(page) || (is_only && page->slices == 1)) {
    return false;
  }
  give_back(page);
  return true;
}

/* Of a page set aside remote frees tell us again, when this share of its blocks is still in use: the last ones may be
 * freed by us, and then nobody would tell. */
#define WAKE_DIVISOR 8

/* Puts a page with room, which is on no list, on that of its class. */
static void set_aside(struct ha_heap *heap, struct ha_page *page) {
  show_owner(heap, page);
  do {
    ha_page_gather(page, false);
  } while (page->pending != 0 &&
           !ha_remote_arm_when_empty(page, page->pending - page->pending / WAKE_DIVISOR));
  if (!release_if_empty(heap, page)) {
    ha_heap_put(heap, page);
  }
}

bool ha_heap_wake(struct ha_heap *heap, struct ha_page *page) {
  /* Before the owner can see the page: it may release it at once. */
  int64_t slices = page->slices;
  ha_heap_note_queued(slices);
  struct ha_page *first = ha_load_relaxed(&heap->woken);
  do {
    if (first == HA_HEAP_CLOSED) {
      ha_heap_note_queued(-slices);
      return false;
    }
    page->woken_next = first;
    /* Release: the link; pairs with the exchange in take_woken. */
  } while (!ha_cas_weak_acq_rel(&heap->woken, &first, page));
  return true;
}

static void handle_woken(struct ha_heap *heap, struct ha_page *page) {
  /* While it is queued nobody takes it but through the queue. */
  bool is_listed = ha_heap_pull(heap, page);
  ha_remote_clear_queued(page);
  if (is_listed) {
    set_aside(heap, page);
  }
}

static void take_woken(struct ha_heap *heap) {
  ha_owner_add(&heap->tends, 1);
  struct ha_page *page = ha_exchange_acq_rel(&heap->woken, NULL);
  while (page != NULL) {
    struct ha_page *next = page->woken_next;
    ha_heap_note_queued(-(int64_t)page->slices);
    if (ha_load_acquire(&page->heap) == heap) {
      handle_woken(heap, page);
    } else {
      /* Queued for the thread that had this heap before, which has let go of the page. */
      ha_remote_hand_over(page);
    }
    page = next;
  }
}

void ha_heap_tend(struct ha_heap *heap) {
  if (ha_load_relaxed(&heap->woken) != NULL) {
    take_woken(heap);
  }
}

void ha_heap_adopt(struct ha_heap *heap, struct ha_page *page) {
  set_aside(heap, page);
}

void ha_heap_page_emptied(struct ha_heap *heap, struct ha_page *page) {
  bool is_spare;
  if (page == heap->current[page->size_class] || !ha_heap_pull_emptied(heap, page, &is_spare)) {
    return;
  }
  check(page);
  if (is_spare) {
    ha_abandoned_add_sparse(page);
  } else {
    set_aside(heap, page); /* and the remote frees that are still to come are counted anew */
  }
  ha_release_poke();
}

bool ha_heap_free_to_full(struct ha_heap *heap, struct ha_page *page, struct ha_block *block) {
  if (!ha_heap_pull(heap, page)) {
    return false;
  }
  block->next = page->local_free;
  page->local_free = block;
  page->pending--;
  set_aside(heap, page);
  return true;
}

/* Lets the fast path hand out the blocks before the next sample. */
static void grant(struct ha_heap *heap, struct ha_page *page) {
  unsigned size_class = page->size_class;
  int64_t count = page->held < heap->countdown[size_class] ? page->held : heap->countdown[size_class];
  ha_page_begin_change(page);
  page->held = (uint16_t)(page->held - count);
  heap->countdown[size_class] -= count;
  ha_owner_add(&heap->granted[size_class], (uint64_t)count);
  page->credit += (int32_t)count;
  ha_page_end_change(page);
}

static void take_back_credit(struct ha_heap *heap, struct ha_page *page) {
  ha_page_begin_change(page);
  if (page->credit > 0) {
    ha_owner_add(&heap->granted[page->size_class], -(uint64_t)page->credit);
    page->held = (uint16_t)(page->held + page->credit);
  }
  page->credit = 0;
  ha_page_end_change(page);
}

void ha_heap_redraw(struct ha_heap *heap) {
  heap->rate_epoch = ha_rate_epoch();
  heap->rate = heap->is_borrowed ? 0 : ha_rate();
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    if (heap->current[size_class] != &ha_empty_page) {
      take_back_credit(heap, heap->current[size_class]);
    }
    heap->countdown[size_class] = ha_interval_draw(&heap->random, ha_class_size(size_class), heap->rate);
  }
}

/* The first page of the list that has blocks; pages found full on the way are put where they belong. */
static struct ha_page *take_listed(struct ha_heap *heap, unsigned size_class) {
  struct ha_page *page;
  while ((page = ha_heap_pull_first(heap, size_class)) != NULL) {
    if (ha_page_refill(page)) {
      ha_remote_disarm(page);
      return page;
    }
    if (!ha_heap_put_full(heap, page)) {
      ha_heap_put(heap, page);
    }
  }
  return NULL;
}

/* One page at a time: what other threads may need is left to them. */
static struct ha_page *take_abandoned(struct ha_heap *heap, unsigned size_class) {
  struct ha_page *page;
  struct ha_page *usable = NULL;
  while (usable == NULL && (page = ha_abandoned_take(size_class, heap)) != NULL) {
    ha_heap_adopt(heap, page);
    usable = take_listed(heap, size_class);
  }
  return usable;
}

/* Blocks of the page that are in use. Owner. */
static int64_t blocks_in_use(const struct ha_page *page) {
  return (int64_t)page->pending - page->credit - page->held - ha_remote_count(ha_load_relaxed(&page->remote));
}

/* Makes the current page of a class, without blocks in use, one that is not. */
static void give_up_current(struct ha_heap *heap, struct ha_page *page) {
  heap->countdown[page->size_class] += page->credit;
  take_back_credit(heap, page);
  set_current(heap, page->size_class, &ha_empty_page);
  ha_page_gather(page, true);
}

void ha_heap_trim(struct ha_heap *heap) {
  ha_heap_tend(heap);
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    struct ha_page *current = heap->current[size_class];
    if (current != &ha_empty_page && blocks_in_use(current) == 0) {
      give_up_current(heap, current);
      set_aside(heap, current);
    }
    /* Others are given back as they become empty; the one that is kept came first. */
    struct ha_page *kept = ha_heap_pull_empty(heap, size_class);
    if (kept != NULL) {
      give_back(kept);
    }
  }
}

/* The pages with room of one class. Returns how many it looked into. */
static size_t park_class(struct ha_heap *heap, unsigned size_class, size_t max_pages) {
  size_t count = ha_heap_count_listed(heap, size_class, max_pages);
  size_t done = 0;
  struct ha_page *page;
  while (done < count && (page = ha_heap_pull_first(heap, size_class)) != NULL) {
    ha_page_gather(page, false);
    ha_page_park(page);
    set_aside(heap, page);
    done++;
  }
  return done;
}

void ha_heap_park(struct ha_heap *heap, size_t max_pages) {
  size_t done = 0;
  for (unsigned i = 0; i < HA_CLASS_COUNT && done < max_pages; i++) {
    done += park_class(heap, heap->parked_class, max_pages - done);
    heap->parked_class = (uint16_t)((heap->parked_class + 1) % HA_CLASS_COUNT);
  }
}

static uint32_t trim_epoch; /* atomic */

void ha_heap_ask_all_to_trim(void) {
  ha_add_relaxed(&trim_epoch, 1);
  ha_rate_next_epoch();
}

/* The countdowns by the new rate, from inside an allocation of a class for which no sample is due: it would have been
 * one object in many by the old rate, and is not made one by the new. */
static void redraw_inside(struct ha_heap *heap, unsigned size_class) {
  ha_heap_redraw(heap);
  if (heap->countdown[size_class] != HA_INTERVAL_NEVER) {
    heap->countdown[size_class]++;
  }
}

/* What was asked of all heaps since this one last looked. Countdowns stay as they are unless the rate is another: to draw
 * anew whenever a slow path is taken would favour objects that are not due. */
static void catch_up(struct ha_heap *heap, unsigned size_class) {
  heap->rate_epoch = ha_rate_epoch();
  if (!heap->is_borrowed && heap->rate != ha_rate()) {
    redraw_inside(heap, size_class);
  }
  uint32_t asked = ha_load_relaxed(&trim_epoch);
  if (heap->trim_epoch != asked) {
    heap->trim_epoch = asked;
    ha_heap_trim(heap);
    if (!heap->is_borrowed) {
      ha_heap_park(heap, PARKED_WHEN_ASKED);
    }
  }
}

/* A current page of another class that is empty, if there are more than enough of them. They are looked at in turn. */
static struct ha_page *take_empty(struct ha_heap *heap, uint32_t slices) {
  struct ha_page *found = NULL;
  unsigned count = 0;
  for (unsigned i = 1; i <= HA_CLASS_COUNT; i++) {
    struct ha_page *page = heap->current[(heap->taken_from + i) % HA_CLASS_COUNT];
    if (page->slices == slices && blocks_in_use(page) == 0 && !ha_remote_is_queued(page)) {
      found = found == NULL ? page : found;
      count++;
    }
  }
  if (count <= EMPTY_SAMPLE_PAGES_MAX) {
    return NULL;
  }
  heap->taken_from = found->size_class;
  give_up_current(heap, found);
  ha_sampled_page_done(found);
  return found;
}

/* For a borrowed heap. */
static struct ha_page *take_for_samples(struct ha_heap *heap, unsigned size_class) {
  struct ha_page *page = take_empty(heap, ha_page_slices(size_class));
  if (page != NULL) {
    page->is_fresh = false;
    ha_page_init(page, size_class);
  } else {
    page = ha_page_alloc(size_class, true);
  }
  if (page != NULL && !ha_sampled_page_prepare(page)) {
    ha_page_release(page);
    return NULL;
  }
  return page;
}

static struct ha_page *take_new(struct ha_heap *heap, unsigned size_class) {
  struct ha_page *page =
      heap->is_borrowed ? take_for_samples(heap, size_class) : ha_page_alloc(size_class, false);
  if (page != NULL) {
    ha_store_release(&page->heap, heap);
    show_owner(heap, page);
  }
  return page;
}

/* Makes a page with blocks on its alloc list current. NULL without memory. */
static struct ha_page *refill(struct ha_heap *heap, unsigned size_class) {
  ha_heap_tend(heap);
  struct ha_page *page = heap->current[size_class];
  if (page != &ha_empty_page) {
    do {
      if (ha_page_refill(page)) {
        return page;
      }
    } while (!ha_heap_put_full(heap, page));
  }
  set_current(heap, size_class, &ha_empty_page);
  page = take_listed(heap, size_class);
  if (page == NULL && !heap->is_borrowed) {
    /* Not for borrowed heaps: an ordinary page has no records for samples. */
    page = take_abandoned(heap, size_class);
  }
  if (page == NULL) {
    page = take_new(heap, size_class);
  }
  if (page != NULL && page->held == 0 && !ha_page_refill(page)) {
    ha_sampled_page_done(page);
    ha_page_release(page);
    page = NULL;
  }
  if (page != NULL) {
    set_current(heap, size_class, page);
  }
  return page;
}

/* The commonest slow path by far, in few instructions: the blocks freed since the last refill are handed out again,
 * and no sample is due among them. False if anything else is to be looked at. */
HA_INLINE bool refill_from_local(struct ha_heap *heap, struct ha_page *page, unsigned size_class) {
  uint32_t count = page->carved - page->pending;
  if (page->held != 0 || count == 0 || ha_page_wants_more(page) || heap->countdown[size_class] < count ||
      ha_load_relaxed(&heap->woken) != NULL || heap->rate_epoch != ha_rate_epoch()) {
    return false;
  }
  ha_page_begin_change(page);
  page->free = page->local_free;
  page->local_free = NULL;
  page->pending = page->carved;
  page->is_zero = false;
  heap->countdown[size_class] -= count;
  ha_owner_add(&heap->granted[size_class], count);
  page->credit = (int32_t)count;
  ha_page_end_change(page);
  return true;
}

/* Whether the next object of the class is to be sampled. */
static bool is_due(const struct ha_heap *heap, unsigned size_class) {
  return heap->current[size_class]->credit <= 0 && heap->countdown[size_class] == 0;
}

/* What may change any page of the heap, before one is chosen. */
static void attend(struct ha_heap *heap, unsigned size_class) {
  if (ha_unlikely(heap->rate_epoch != ha_rate_epoch()) && !is_due(heap, size_class)) {
    catch_up(heap, size_class);
  }
  if (ha_limit_is_exceeded() && !heap->is_borrowed) {
    ha_limit_make_room(heap);
  }
}

void *ha_heap_alloc(struct ha_heap *heap, unsigned size_class, size_t requested) {
  struct ha_page *page = heap->current[size_class];
  if (page->credit <= 0 && refill_from_local(heap, page, size_class)) {
    page->credit--;
    return ha_page_pop(page);
  }
  if (page->credit < 0) {
    page->credit = 0;
  }
  attend(heap, size_class);
  page = heap->current[size_class];
  /* Not "== 0": the empty page is shared, and another thread may have decremented it since. */
  while (page->credit <= 0) {
    if (heap->countdown[size_class] == 0) {
      heap->countdown[size_class] = ha_interval_draw(&heap->random, ha_class_size(size_class), heap->rate);
      void *block = ha_sampled_alloc(size_class, requested, heap->rate);
      if (block != NULL) {
        return block;
      }
      /* Dropped and counted. Serve this one unsampled, also when the next is due at once. */
      if (heap->countdown[size_class] == 0) {
        heap->countdown[size_class] = 1;
      }
      /* The walk may have allocated, too: other code's walkers do. */
      page = heap->current[size_class];
      continue;
    }
    if (page->held == 0 && (page = refill(heap, size_class)) == NULL) {
      return NULL;
    }
    grant(heap, page);
  }
  check(page);
  page->credit--;
  return ha_page_pop(page);
}

/* All pages of a list, full or not, leave the heap; those without blocks in use go back to the arena. */
static void give_up(struct ha_page_list *list) {
  while (list->first != NULL) {
    struct ha_page *page = list->first;
    ha_page_list_remove(list, page);
    ha_page_raise_floor(page);
    ha_abandoned_add_locked(page);
  }
}

/* Closes the queue. Returns the pages that came late and belong to others, for whom they are to be queued. */
static struct ha_page *close_queue_locked(struct ha_heap *heap) {
  struct ha_page *others = NULL;
  struct ha_page *page = ha_exchange_acq_rel(&heap->woken, HA_HEAP_CLOSED);
  while (page != NULL) {
    struct ha_page *next = page->woken_next;
    ha_heap_note_queued(-(int64_t)page->slices);
    if (ha_load_acquire(&page->heap) == heap) {
      ha_remote_clear_queued(page);
    } else {
      page->woken_next = others;
      others = page;
    }
    page = next;
  }
  return others;
}

void ha_heap_close(struct ha_heap *heap) {
  ha_outbox_flush(&heap->outbox);
  take_woken(heap);
  /* Held throughout, so that a thread that finds the heap closed has only to wait for this lock. */
  ha_lock(HA_RANK_ABANDONED);
  struct ha_page *others = close_queue_locked(heap);
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT; size_class++) {
    struct ha_page *page = heap->current[size_class];
    if (page != &ha_empty_page) {
      take_back_credit(heap, page);
      set_current(heap, size_class, &ha_empty_page);
      ha_page_list_push(&heap->lists[size_class], page);
    }
    give_up(&heap->lists[size_class]);
  }
  give_up(&heap->full);
  ha_unlock(HA_RANK_ABANDONED);
  while (others != NULL) {
    struct ha_page *next = others->woken_next;
    ha_remote_hand_over(others);
    others = next;
  }
}
