/* SPDX-License-Identifier: MIT */
/*
 * Lists by size class under HA_RANK_ABANDONED, with a count that tells without the lock that there is
 * nothing.
 */
#include "alloc/abandoned.h"

#include "alloc/arena.h"
#include "alloc/heap.h"
#include "alloc/remote.h"
#include "alloc/size_class.h"
#include "base/lock.h"

static struct ha_page_list lists[HA_CLASS_COUNT];
static uint32_t counts[HA_CLASS_COUNT]; /* atomic; written under the lock */

static void list_locked(struct ha_page *page) {
  ha_page_list_push(&lists[page->size_class], page);
  page->is_listed = true;
  ha_owner_add(&counts[page->size_class], 1);
}

static void unlist_locked(struct ha_page *page) {
  ha_page_list_remove(&lists[page->size_class], page);
  page->is_listed = false;
  ha_owner_add(&counts[page->size_class], -1u);
}

void ha_abandoned_add_locked(struct ha_page *page) {
  ha_lock_assert_held(HA_RANK_ABANDONED);
  ha_store_relaxed(&page->owner, NULL);
  page->is_full = false;
  /* Before the wake is armed: who is woken by it must find the page without a heap. */
  ha_store_release(&page->heap, NULL);
  const uint32_t wake_at_first = 1;
  do {
    /* Again when blocks came back meanwhile: the last one may be among them, and nobody would be woken any more. */
    ha_page_gather(page, true);
  } while (page->pending != 0 && !ha_remote_arm_when_empty(page, wake_at_first));
  if (page->pending == 0 && !ha_remote_is_queued(page)) {
    ha_page_release(page);
  } else if (page->local_free != NULL) {
    list_locked(page);
  }
}

struct ha_page *ha_abandoned_take(unsigned size_class, struct ha_heap *heap) {
  if (ha_load_relaxed(&counts[size_class]) == 0) {
    return NULL;
  }
  ha_lock(HA_RANK_ABANDONED);
  struct ha_page *page = lists[size_class].first;
  if (page != NULL) {
    unlist_locked(page);
    ha_store_release(&page->heap, heap);
  }
  ha_unlock(HA_RANK_ABANDONED);
  return page;
}

bool ha_abandoned_claim(struct ha_page *page) {
  struct ha_heap *heap = ha_heap_of_thread();
  ha_lock(HA_RANK_ABANDONED);
  bool is_ours = ha_load_relaxed(&page->heap) == NULL;
  if (is_ours) {
    if (page->is_listed) {
      unlist_locked(page);
    }
    if (heap != NULL) {
      ha_store_release(&page->heap, heap);
    } else {
      /* A thread without a heap: the page is abandoned anew, or released if it is empty now. */
      ha_remote_clear_queued(page);
      ha_abandoned_add_locked(page);
    }
  }
  ha_unlock(HA_RANK_ABANDONED);
  if (is_ours && heap != NULL) {
    ha_remote_clear_queued(page);
    ha_heap_adopt(heap, page);
  }
  return is_ours;
}

void ha_abandoned_wait(void) {
  ha_lock(HA_RANK_ABANDONED);
  ha_unlock(HA_RANK_ABANDONED);
}
