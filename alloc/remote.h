/* SPDX-License-Identifier: MIT */
/*
 * Frees by other threads: one atomic word per page, changed only by compare-and-swap.
 *
 *   bits 63..48  count of blocks on the remote list
 *   bits 47..32  wake: when count reaches it, the freeing thread tells the owner (0: never)
 *   bits 31..16  the list's first block, as its offset in 16-byte units plus one (0: empty)
 *   bit  0       QUEUED: the page is being handed to its owner, or waits in the owner's queue
 *
 * A freeing thread touches the page only in the swap, unless that swap sets QUEUED: QUEUED pins the page (no one
 * releases or claims it) until its holder has queued it and the owner has taken it from the queue.
 * A full page asks to be woken at the first free, a page set aside when most of its blocks are back, an abandoned page
 * at the next free, whose thread then adopts it.
 */
#ifndef HA_ALLOC_REMOTE_H
#define HA_ALLOC_REMOTE_H

#include "alloc/page.h"

struct ha_remote_list {
  struct ha_block *first;
  uint32_t count;
};

/* Linked blocks go back to a page that the calling thread does not own. Lock-free; may adopt or wake the page. */
void ha_remote_free_list(struct ha_page *page, struct ha_block *first, struct ha_block *last, uint32_t count);

/* The same for one block. */
HA_INLINE void ha_remote_free(struct ha_page *page, struct ha_block *block) {
  ha_remote_free_list(page, block, block, 1);
}

/* Gives a page with QUEUED set to its owner's queue, or adopts it for the calling thread if it has no owner.
 */
void ha_remote_hand_over(struct ha_page *page);

/* Owner: takes the whole list and sets the next wake. */
struct ha_remote_list ha_remote_take(struct ha_page *page, uint32_t wake);

/* Owner: sets wake if the list is empty and no one is being woken; false otherwise. */
bool ha_remote_arm_when_empty(struct ha_page *page, uint32_t wake);

/* Owner: no free wakes any more, for a page that is about to be current. */
void ha_remote_disarm(struct ha_page *page);

/* Owner, on taking the page from its queue. */
void ha_remote_clear_queued(struct ha_page *page);

HA_INLINE uint32_t ha_remote_count(uint64_t word) {
  return (uint32_t)(word >> 48);
}

HA_INLINE bool ha_remote_word_is_queued(uint64_t word) {
  return (word & 1) != 0;
}

HA_INLINE bool ha_remote_is_queued(const struct ha_page *page) {
  return ha_remote_word_is_queued(ha_load_acquire(&page->remote));
}

#endif
