/* SPDX-License-Identifier: MIT */
/*
 * Parked blocks: free blocks of a page in use whose memory was given back to the kernel.
 *
 * A free list runs through the blocks themselves, so before an OS page can be given back, the blocks in it must leave
 * the list. They are noted in a bitmap of the page instead, and cut anew when the page has no others.
 *
 *   bits set in `parked` = cut - carved
 *
 * All functions are for who holds the page alone: its owner, or who has taken it off the abandoned lists.
 */
#ifndef HA_ALLOC_PARK_H
#define HA_ALLOC_PARK_H

#include "alloc/page.h"

/* Gives back the OS pages in which all blocks are on the local list. Returns how many. Costs a walk over that list and
 * a system call for each run of OS pages. */
size_t ha_page_park(struct ha_page *page);

/* Makes a list of some parked blocks, which count as carved again. Returns how many; 0 if there are none. */
uint32_t ha_page_unpark(struct ha_page *page, struct ha_block **ret_list);

/* The page has no blocks any more. */
void ha_page_forget_parked(struct ha_page *page);

HA_INLINE bool ha_page_has_parked(const struct ha_page *page) {
  return page->cut != page->carved;
}

#endif
