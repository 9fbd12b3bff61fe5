/* SPDX-License-Identifier: MIT */
/*
 * Two lists by size class under HA_RANK_ABANDONED: pages that wait to be looked at, oldest first, and pages whose free
 * OS pages were given back. A count tells without the lock that there is nothing.
 */
#include "alloc/abandoned.h"

#include "alloc/arena.h"
#include "alloc/heap_lists.h"
#include "alloc/park.h"
#include "alloc/remote.h"
#include "alloc/size_class.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/os.h"

/* A page is looked at again when no more than this share is left of the blocks that were in use. */
#define AGAIN_DIVISOR 8

#define IDLE_SECONDS 2 /* so long a page is left alone, should its class be wanted again */

/* Pages of a class and a heap that are looked at when memory is wanted back at once, and every two seconds: the latter
 * takes some 50 microseconds. */
#define LOOKS_WHEN_ASKED ((size_t)1 << 20)
#define LOOKS_A_ROUND ((size_t)1024)

enum listed { UNLISTED, WAITING, SCANNED };

static struct ha_page_list lists[SCANNED + 1][HA_CLASS_COUNT];
static uint32_t counts[SCANNED + 1][HA_CLASS_COUNT]; /* atomic; written under the lock */
static uint64_t waiting_slices;                      /* atomic; written under the lock */

static void list_locked(struct ha_page *page, enum listed which) {
  ha_page_list_push(&lists[which][page->size_class], page);
  page->listed = (uint8_t)which;
  page->listed_at = (uint8_t)(ha_clock_coarse() / HA_SECOND);
  ha_owner_add(&counts[which][page->size_class], 1);
  ha_owner_add(&waiting_slices, which == WAITING ? page->slices : 0);
}

static void unlist_locked(struct ha_page *page) {
  enum listed which = (enum listed)page->listed;
  ha_page_list_remove(&lists[which][page->size_class], page);
  page->listed = UNLISTED;
  ha_owner_add(&counts[which][page->size_class], -1u);
  ha_owner_add(&waiting_slices, which == WAITING ? -(uint64_t)page->slices : 0);
}

enum wake { WAKE_AT_FIRST, WAKE_AT_LAST };

static bool has_free_blocks(const struct ha_page *page) {
  return page->local_free != NULL || ha_page_has_parked(page);
}

/* After how many frees somebody is told. Of a page that will not be listed it is the first, else its free blocks would be
 * lost until the last one; of one that was looked at, when most of what is in use now is free: it is to be looked at
 * again. */
static uint32_t wake_of(const struct ha_page *page, enum wake wake, enum listed which) {
  if (wake == WAKE_AT_FIRST || !has_free_blocks(page)) {
    return 1;
  }
  return which == SCANNED ? page->pending - page->pending / AGAIN_DIVISOR : page->pending;
}

/* Lists a page that belongs to no heap and is on no list, or releases it if it is empty. */
static void settle_locked(struct ha_page *page, enum wake wake, enum listed which) {
  do {
    /* Again when blocks came back meanwhile: the last one may be among them, and nobody would be woken any more. */
    ha_page_gather(page, true);
  } while (page->pending != 0 && !ha_remote_arm_when_empty(page, wake_of(page, wake, which)));
  if (page->pending == 0 && !ha_remote_is_queued(page)) {
    ha_page_release(page);
  } else if (has_free_blocks(page)) {
    list_locked(page, which);
  }
}

static void let_go_locked(struct ha_page *page, enum wake wake) {
  ha_lock_assert_held(HA_RANK_ABANDONED);
  ha_store_relaxed(&page->owner, NULL);
  page->place = HA_PLACE_NONE;
  /* Before the wake is armed: who is woken by it must find the page without a heap. */
  ha_store_release(&page->heap, NULL);
  settle_locked(page, wake, WAITING);
}

void ha_abandoned_add_locked(struct ha_page *page) {
  let_go_locked(page, WAKE_AT_FIRST);
}

void ha_abandoned_add_sparse(struct ha_page *page) {
  ha_lock(HA_RANK_ABANDONED);
  let_go_locked(page, WAKE_AT_LAST);
  ha_unlock(HA_RANK_ABANDONED);
}

/* The queue of a heap, unless it is closed or empty. Closing takes the same lock. */
static struct ha_page *take_queue_locked(struct ha_heap *heap) {
  struct ha_page *first = ha_load_relaxed(&heap->woken);
  while (first != NULL && first != HA_HEAP_CLOSED && !ha_cas_weak_acq_rel(&heap->woken, &first, NULL)) {
  }
  return first != HA_HEAP_CLOSED ? first : NULL;
}

/* What was taken is let go of, the rest goes back to the queue. */
static void take_from_queue_locked(struct ha_heap *heap) {
  struct ha_page *page = take_queue_locked(heap);
  while (page != NULL) {
    struct ha_page *next = page->woken_next;
    ha_heap_note_queued(-(int64_t)page->slices);
    if (ha_heap_take_queued_locked(heap, page)) {
      ha_remote_clear_queued(page);
      let_go_locked(page, WAKE_AT_LAST);
    } else {
      ha_heap_wake(heap, page);
    }
    page = next;
  }
}

/* The lock is released in between, so that no thread waits long for it. */
static void take_unused(struct ha_heap *heap, unsigned size_class, size_t max_looks) {
  struct ha_list_walk walk = {NULL, 0, ha_load_relaxed(&heap->lists[size_class].first) == NULL};
  while (!walk.is_over && walk.looks < max_looks) {
    ha_lock(HA_RANK_ABANDONED);
    struct ha_page *page = ha_heap_take_unused_locked(heap, size_class, &walk);
    if (page != NULL) {
      let_go_locked(page, WAKE_AT_LAST);
    }
    ha_unlock(HA_RANK_ABANDONED);
  }
}

void ha_abandoned_take_from_idle(struct ha_heap *heap, bool at_once) {
  if (heap->is_borrowed) {
    return;
  }
  ha_lock(HA_RANK_ABANDONED);
  uint32_t tends = ha_load_relaxed(&heap->tends);
  bool is_idle = at_once || tends == heap->tends_seen;
  heap->tends_seen = tends;
  if (is_idle) {
    take_from_queue_locked(heap);
  }
  ha_unlock(HA_RANK_ABANDONED);
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT && is_idle; size_class++) {
    take_unused(heap, size_class, at_once ? LOOKS_WHEN_ASKED : LOOKS_A_ROUND);
  }
}

static struct ha_page *first_due_locked(unsigned size_class, bool all) {
  struct ha_page *page = lists[WAITING][size_class].first;
  uint8_t now = (uint8_t)(ha_clock_coarse() / HA_SECOND);
  if (page != NULL && (all || (uint8_t)(now - page->listed_at) >= IDLE_SECONDS)) {
    return page;
  }
  return all ? lists[SCANNED][size_class].first : NULL;
}

/* Looks into one page, which is on no list meanwhile. Blocks freed into it are gathered before and after; in between
 * nobody is woken, so nobody claims it. False if there is none to look at. */
static bool release_one(unsigned size_class, bool all, size_t *ret_bytes) {
  ha_lock(HA_RANK_ABANDONED);
  struct ha_page *page = first_due_locked(size_class, all);
  if (page == NULL) {
    ha_unlock(HA_RANK_ABANDONED);
    return false;
  }
  unlist_locked(page);
  ha_page_gather(page, true);
  bool is_claimed = ha_remote_is_queued(page);
  if (!is_claimed && page->pending != 0) {
    ha_unlock(HA_RANK_ABANDONED);
    *ret_bytes += ha_page_park(page) * HA_OS_PAGE;
    ha_lock(HA_RANK_ABANDONED);
  }
  settle_locked(page, WAKE_AT_LAST, SCANNED);
  ha_unlock(HA_RANK_ABANDONED);
  return true;
}

static size_t release_class(unsigned size_class, bool all, size_t max_pages, size_t *ret_bytes) {
  size_t there = ha_load_relaxed(&counts[WAITING][size_class]) +
                 (all ? ha_load_relaxed(&counts[SCANNED][size_class]) : 0);
  size_t most = there < max_pages ? there : max_pages;
  size_t done = 0;
  while (done < most && release_one(size_class, all, ret_bytes)) {
    done++;
  }
  return done;
}

size_t ha_abandoned_release(bool all, size_t max_pages, size_t *ret_bytes) {
  size_t done = 0;
  for (unsigned size_class = 0; size_class < HA_CLASS_COUNT && done < max_pages; size_class++) {
    done += release_class(size_class, all, max_pages - done, ret_bytes);
  }
  return done;
}

uint64_t ha_abandoned_waiting_bytes(void) {
  return ha_load_relaxed(&waiting_slices) * HA_SLICE;
}

struct ha_page *ha_abandoned_take(unsigned size_class, struct ha_heap *heap) {
  if (ha_load_relaxed(&counts[WAITING][size_class]) + ha_load_relaxed(&counts[SCANNED][size_class]) == 0) {
    return NULL;
  }
  ha_lock(HA_RANK_ABANDONED);
  struct ha_page *page = lists[WAITING][size_class].first;
  if (page == NULL) {
    page = lists[SCANNED][size_class].first;
  }
  if (page != NULL) {
    unlist_locked(page);
    ha_store_release(&page->heap, heap);
  }
  ha_unlock(HA_RANK_ABANDONED);
  return page;
}

/* Claims a page for the heap, or, if it is not to be adopted, lists it again or releases it. Whether it is adopted. */
static bool claim_locked(struct ha_page *page, struct ha_heap *heap) {
  enum listed which = (enum listed)page->listed;
  if (which != UNLISTED) {
    unlist_locked(page);
  }
  if (heap != NULL && which != SCANNED) {
    ha_store_release(&page->heap, heap);
    return true;
  }
  ha_remote_clear_queued(page);
  let_go_locked(page, which == SCANNED ? WAKE_AT_LAST : WAKE_AT_FIRST);
  return false;
}

bool ha_abandoned_claim(struct ha_page *page) {
  struct ha_heap *heap = ha_heap_of_thread();
  ha_lock(HA_RANK_ABANDONED);
  bool is_ours = ha_load_relaxed(&page->heap) == NULL;
  bool is_adopted = is_ours && claim_locked(page, heap);
  ha_unlock(HA_RANK_ABANDONED);
  if (is_adopted) {
    ha_remote_clear_queued(page);
    ha_heap_adopt(heap, page);
  }
  return is_ours;
}

bool ha_abandoned_wait(const struct ha_page *page) {
  ha_lock(HA_RANK_ABANDONED);
  const struct ha_heap *heap = ha_load_relaxed(&page->heap);
  /* Who closes a heap holds the lock until it has let go of all pages. */
  bool is_lost = heap != NULL && ha_load_relaxed(&heap->woken) == HA_HEAP_CLOSED;
  ha_unlock(HA_RANK_ABANDONED);
  return !is_lost;
}
