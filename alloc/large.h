/* SPDX-License-Identifier: MIT */
/*
 * Large blocks: above HA_MEDIUM_MAX, one block per span, its size rounded up to OS pages.
 *
 * Up to HA_HUGE_MIN they are spans of an arena, whose memory is used again without a system call; above it they have
 * mappings of their own, which go back to the kernel when freed. Whether a block is sampled is decided here, once.
 * Freed and allocated totals are kept exactly, under HA_RANK_ARENA.
 */
#ifndef HA_ALLOC_LARGE_H
#define HA_ALLOC_LARGE_H

#include "alloc/page.h"

/* alignment: a power of two. NULL without memory (errno untouched). */
void *ha_large_alloc(size_t size, size_t alignment);

/* The block of a page of kind LARGE or HUGE. Aborts if `block` is not that block. */
void ha_large_free(struct ha_page *page, void *block);

/* Makes the block `size` bytes long without copying; counts as a free and an allocation. Blocks of arenas stay where
 * they are and can only grow, into free slices behind them; huge blocks may move (mremap). Returns where the block is
 * now, or NULL if it cannot be done: the block is then as it was. */
void *ha_large_resize(struct ha_page *page, size_t size);

struct ha_large_totals {
  uint64_t mallocs;
  uint64_t frees;
  uint64_t alloc_bytes; /* block sizes, ever */
  uint64_t free_bytes;
  uint64_t huge_bytes; /* mapped now outside arenas */
};
struct ha_large_totals ha_large_totals(void);

#endif
