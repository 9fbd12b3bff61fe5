/* SPDX-License-Identifier: MIT */
/*
 * The remote list, and the hand-over of a page to its owner.
 *
 * Each swap that adds a block releases the block's link and content to the owner, who takes the list with
 * acquire.
 */
#include "alloc/remote.h"

#include "alloc/abandoned.h"
#include "alloc/heap_pool.h"
#include "alloc/release.h"

#define COUNT_ONE ((uint64_t)1 << 48)
#define COUNT_MASK ((uint64_t)0xffff << 48)
#define WAKE_SHIFT 32
#define WAKE_MASK ((uint64_t)0xffff << WAKE_SHIFT)
#define FIRST_SHIFT 16
#define FIRST_MASK ((uint64_t)0xffff << FIRST_SHIFT)
#define QUEUED ((uint64_t)1)
#define UNIT_SHIFT 4 /* blocks start at multiples of 16 bytes */

/* The offset of a block in a 512 KiB page is below 2^15 units, and there are at most 4,096 blocks in a page.
 */
_Static_assert((HA_MEDIUM_PAGE_SLICES * HA_SLICE >> UNIT_SHIFT) < 0xffff, "an offset fits its field");

static struct ha_block *first_of(const struct ha_page *page, uint64_t word) {
  uint64_t unit = (word & FIRST_MASK) >> FIRST_SHIFT;
  return unit == 0 ? NULL : (struct ha_block *)(page->start + ((unit - 1) << UNIT_SHIFT));
}

static uint64_t with_first(const struct ha_page *page, uint64_t word, const struct ha_block *block) {
  uint64_t unit = ((uint64_t)((const char *)block - page->start) >> UNIT_SHIFT) + 1;
  return (word & ~FIRST_MASK) | unit << FIRST_SHIFT;
}

static uint32_t wake_of(uint64_t word) {
  return (uint32_t)((word & WAKE_MASK) >> WAKE_SHIFT);
}

static uint64_t with_wake(uint64_t word, uint32_t wake) {
  return (word & ~WAKE_MASK) | (uint64_t)wake << WAKE_SHIFT;
}

void ha_remote_hand_over(struct ha_page *page) {
  for (;;) {
    struct ha_heap *heap = ha_load_acquire(&page->heap);
    if (heap == NULL ? ha_abandoned_claim(page) : ha_heap_wake(heap, page)) {
      if (heap != NULL && heap->is_borrowed) {
        ha_heap_tend_pooled(heap);
      }
      return;
    }
    /* The owner is ending and holds the lock while it lets go of its pages; wait for that, not for a scheduler. In a
     * child made without fork handlers it may be missing. */
    if (heap != NULL && !ha_abandoned_wait(page)) {
      return;
    }
  }
}

static bool reaches(uint64_t word, uint64_t next, uint32_t wake) {
  return ha_remote_count(word) < wake && ha_remote_count(next) >= wake;
}

void ha_remote_free_list(struct ha_page *page, struct ha_block *first, struct ha_block *last,
                         uint32_t count) {
  uint64_t word = ha_load_relaxed(&page->remote);
  uint64_t next;
  do {
    last->next = first_of(page, word);
    next = with_first(page, word + count * COUNT_ONE, first);
    if (reaches(word, next, wake_of(word))) {
      next = with_wake(next, 0) | QUEUED;
    }
  } while (!ha_cas_weak_acq_rel(&page->remote, &word, next));
  if ((next & QUEUED) != 0 && (word & QUEUED) == 0) {
    ha_remote_hand_over(page);
    ha_release_poke();
  }
}

struct ha_remote_list ha_remote_take(struct ha_page *page, uint32_t wake) {
  uint64_t word = ha_load_relaxed(&page->remote);
  uint64_t next;
  do {
    next = with_wake(word & ~(COUNT_MASK | FIRST_MASK), (word & QUEUED) != 0 ? 0 : wake);
  } while (next != word && !ha_cas_weak_acq_rel(&page->remote, &word, next));
  return (struct ha_remote_list){first_of(page, word), ha_remote_count(word)};
}

bool ha_remote_arm_when_empty(struct ha_page *page, uint32_t wake) {
  uint64_t word = ha_load_relaxed(&page->remote);
  do {
    if (ha_remote_count(word) != 0) {
      return false;
    }
    if ((word & QUEUED) != 0) {
      return true; /* already on its way to the owner, who will look again */
    }
  } while (!ha_cas_weak_acq_rel(&page->remote, &word, with_wake(word, wake)));
  return true;
}

void ha_remote_disarm(struct ha_page *page) {
  __atomic_fetch_and(&page->remote, ~WAKE_MASK, __ATOMIC_RELAXED);
}

void ha_remote_clear_queued(struct ha_page *page) {
  __atomic_fetch_and(&page->remote, ~(QUEUED | WAKE_MASK), __ATOMIC_ACQ_REL);
}
