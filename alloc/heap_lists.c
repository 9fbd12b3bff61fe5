/* SPDX-License-Identifier: MIT */
/*
 * Lists under a lock of one word, for which nobody waits but the owner, and then for some links. It sleeps while it
 * waits, since who takes may need the processor to get on. Who takes and finds the lock busy goes away.
 *
 * The word is 0, or tells which process took the lock (ha_locks_process): in a child made without fork handlers the
 * holder may be a thread that is not there, and then the lock is the owner's.
 */
#include "alloc/heap_lists.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/remote.h"
#include "base/lock.h"
#include "base/os.h"

/* A thread keeps as many pages with room of a class for itself; sparse ones beyond that are for all. */
#define KEPT_LISTED_PAGES 4

/* Sparse means that an eighth of the blocks are in use, or one for each OS page where these hold more than eight: with
 * more of them spread at random hardly any OS page is wholly free. */
#define SPARSE_DIVISOR 8

#define SPINS_BEFORE_SLEEP 100

/* The lock's lowest bit: the owner sleeps until it is free. */
#define AWAITED 1u

static bool try_lock(struct ha_heap *heap) {
  uint32_t none = 0;
  return ha_cas_strong_acq_rel(&heap->lists_lock, &none, ha_locks_process() << 1);
}

/* Returns when the lock may be free. */
static void sleep_until_unlocked(struct ha_heap *heap) {
  uint32_t word = ha_load_relaxed(&heap->lists_lock);
  if (word == 0) {
    return;
  }
  if (word >> 1 != ha_locks_process_now()) {
    ha_store_release(&heap->lists_lock, 0); /* by a thread that this process does not have */
  } else if ((word & AWAITED) != 0 || ha_cas_strong_acq_rel(&heap->lists_lock, &word, word | AWAITED)) {
    syscall(SYS_futex, &heap->lists_lock, FUTEX_WAIT_PRIVATE, word | AWAITED, NULL, NULL, 0);
  }
}

static HA_COLD void lock_busy(struct ha_heap *heap) {
  int saved = errno;
  for (unsigned tries = 0; !try_lock(heap); tries++) {
    if (tries < SPINS_BEFORE_SLEEP) {
      __builtin_ia32_pause();
    } else {
      sleep_until_unlocked(heap);
    }
  }
  errno = saved;
}

/* Owner. */
static void lock(struct ha_heap *heap) {
  if (ha_unlikely(!try_lock(heap))) {
    lock_busy(heap);
  }
}

/* Owner: nobody else waits. */
static void unlock(struct ha_heap *heap) {
  ha_store_release(&heap->lists_lock, 0);
}

/* Who takes. */
static void unlock_for_owner(struct ha_heap *heap) {
  if ((ha_exchange_acq_rel(&heap->lists_lock, 0) & AWAITED) != 0) {
    int saved = errno;
    syscall(SYS_futex, &heap->lists_lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
  }
}

static uint32_t sparse_count(const struct ha_page *page) {
  uint32_t share = page->capacity / SPARSE_DIVISOR;
  uint32_t os_pages = page->slices * (uint32_t)(HA_SLICE / HA_OS_PAGE);
  return share < os_pages ? share : os_pages;
}

static void set_floor(struct ha_page *page) {
  uint32_t floor = sparse_count(page);
  ha_page_begin_change(page);
  page->floor = page->pending > floor && !page->is_sampled ? (uint16_t)floor : 0;
  page->pending -= page->floor;
  ha_page_end_change(page);
}

void ha_page_raise_floor(struct ha_page *page) {
  ha_page_begin_change(page);
  page->pending += page->floor;
  page->floor = 0;
  ha_page_end_change(page);
}

bool ha_page_is_unused(const struct ha_page *page) {
  return page->pending + page->floor == 0 && !ha_remote_is_queued(page);
}

static struct ha_page_list *list_of(struct ha_heap *heap, const struct ha_page *page) {
  return page->place == HA_PLACE_FULL ? &heap->full : &heap->lists[page->size_class];
}

static void remove_locked(struct ha_heap *heap, struct ha_page *page) {
  ha_page_list_remove(list_of(heap, page), page);
  page->place = HA_PLACE_NONE;
  ha_page_raise_floor(page);
}

static bool is_here_locked(const struct ha_heap *heap, const struct ha_page *page) {
  return page->place != HA_PLACE_NONE && ha_load_relaxed(&page->heap) == heap;
}

void ha_heap_put(struct ha_heap *heap, struct ha_page *page) {
  set_floor(page);
  lock(heap);
  page->place = HA_PLACE_LISTED;
  ha_page_list_push(&heap->lists[page->size_class], page);
  unlock(heap);
}

bool ha_heap_put_full(struct ha_heap *heap, struct ha_page *page) {
  const uint32_t wake_at_first = 1;
  if (!ha_remote_arm_when_empty(page, wake_at_first)) {
    return false;
  }
  lock(heap);
  ha_store_relaxed(&page->owner, NULL);
  page->place = HA_PLACE_FULL;
  ha_page_list_push(&heap->full, page);
  unlock(heap);
  return true;
}

bool ha_heap_pull(struct ha_heap *heap, struct ha_page *page) {
  lock(heap);
  bool is_here = is_here_locked(heap, page);
  if (is_here) {
    remove_locked(heap, page);
  }
  unlock(heap);
  return is_here;
}

static size_t count_locked(const struct ha_heap *heap, unsigned size_class, size_t most) {
  size_t count = 0;
  const struct ha_page *page = heap->lists[size_class].first;
  while (page != NULL && count < most) {
    count++;
    page = page->next;
  }
  return count;
}

static bool has_spare_pages_locked(const struct ha_heap *heap, unsigned size_class) {
  return count_locked(heap, size_class, KEPT_LISTED_PAGES + 1) > KEPT_LISTED_PAGES;
}

size_t ha_heap_count_listed(struct ha_heap *heap, unsigned size_class, size_t most) {
  lock(heap);
  size_t count = count_locked(heap, size_class, most);
  unlock(heap);
  return count;
}

bool ha_heap_pull_emptied(struct ha_heap *heap, struct ha_page *page, bool *ret_is_spare) {
  lock(heap);
  bool is_here = is_here_locked(heap, page);
  if (is_here) {
    *ret_is_spare =
        page->floor != 0 && has_spare_pages_locked(heap, page->size_class) && !ha_remote_is_queued(page);
    remove_locked(heap, page);
  }
  unlock(heap);
  return is_here;
}

/* Without the lock it may be seen that there is none: only the owner adds any. */
static struct ha_page *pull_first_if(struct ha_heap *heap, unsigned size_class, bool if_unused) {
  if (ha_load_relaxed(&heap->lists[size_class].first) == NULL) {
    return NULL;
  }
  lock(heap);
  struct ha_page *page = heap->lists[size_class].first;
  if (page != NULL && if_unused && !ha_page_is_unused(page)) {
    page = NULL;
  }
  if (page != NULL) {
    remove_locked(heap, page);
  }
  unlock(heap);
  return page;
}

struct ha_page *ha_heap_pull_first(struct ha_heap *heap, unsigned size_class) {
  return pull_first_if(heap, size_class, false);
}

struct ha_page *ha_heap_pull_empty(struct ha_heap *heap, unsigned size_class) {
  return pull_first_if(heap, size_class, true);
}

/* Whether all blocks of a listed page are free, some of them on its remote list. The owner's frees, which may be under
 * way, only lower `pending`: what is read here is at least what it is. If it says that no block is in use, they are over,
 * and what they wrote before is there: the stores of ha_free come in their order. */
static bool is_unused_locked(const struct ha_page *page, uint64_t remote) {
  return ha_load_acquire(&page->pending) + page->floor == ha_remote_count(remote);
}

static void take_locked(struct ha_heap *heap, struct ha_page *page) {
  remove_locked(heap, page);
  ha_store_release(&page->heap, NULL);
}

bool ha_heap_take_queued_locked(struct ha_heap *heap, struct ha_page *page) {
  ha_lock_assert_held(HA_RANK_ABANDONED);
  if (!try_lock(heap)) {
    return false;
  }
  bool is_taken = is_here_locked(heap, page) &&
                  (page->place == HA_PLACE_FULL || is_unused_locked(page, ha_load_acquire(&page->remote)));
  if (is_taken) {
    take_locked(heap, page);
  }
  unlock_for_owner(heap);
  return is_taken;
}

/* Of pages that became unused by the owner's frees alone it keeps one: that is left to it. */
static bool is_to_be_taken_locked(const struct ha_page *page) {
  uint64_t remote = ha_load_acquire(&page->remote);
  return ha_remote_count(remote) != 0 && !ha_remote_word_is_queued(remote) && is_unused_locked(page, remote);
}

/* The first page of the list if it can be taken; else it goes to the end. */
static struct ha_page *look_locked(struct ha_heap *heap, struct ha_page_list *list,
                                   struct ha_list_walk *walk) {
  struct ha_page *page = list->first;
  walk->is_over = page == NULL || page == walk->start;
  if (walk->is_over) {
    return NULL;
  }
  walk->looks++;
  if (is_to_be_taken_locked(page)) {
    take_locked(heap, page);
    return page;
  }
  walk->start = walk->start != NULL ? walk->start : page;
  ha_page_list_remove(list, page);
  ha_page_list_push(list, page);
  return NULL;
}

struct ha_page *ha_heap_take_unused_locked(struct ha_heap *heap, unsigned size_class,
                                           struct ha_list_walk *walk) {
  ha_lock_assert_held(HA_RANK_ABANDONED);
  struct ha_page *taken = NULL;
  if (!try_lock(heap)) {
    walk->is_over = true;
    return NULL;
  }
  for (unsigned i = 0; i < HA_LOOKS_AT_ONCE && taken == NULL && !walk->is_over; i++) {
    taken = look_locked(heap, &heap->lists[size_class], walk);
  }
  unlock_for_owner(heap);
  return taken;
}
