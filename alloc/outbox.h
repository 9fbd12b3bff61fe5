/* SPDX-License-Identifier: MIT */
/*
 * An outbox: blocks that a thread has freed into pages of others, on their way there.
 *
 * Each remote free would be a compare-and-swap on a cache line that threads share. A thread collects its frees by page
 * instead, in a small cache of lists, and hands a list over with one swap: when it is long enough, when its slot is
 * wanted for another page, and when the thread ends. Until then the blocks count as freed in statistics, but their
 * pages keep them and so cannot be released.
 *
 * Bounds: HA_OUTBOX_SLOTS lists of at most HA_OUTBOX_BLOCKS blocks or HA_OUTBOX_BYTES in each heap, so larger blocks
 * hardly wait. Only the owner of the heap calls these functions; statistics read the words.
 */
#ifndef HA_ALLOC_OUTBOX_H
#define HA_ALLOC_OUTBOX_H

#include "alloc/page.h"

#define HA_OUTBOX_SLOTS 32
#define HA_OUTBOX_BLOCKS 16
#define HA_OUTBOX_BYTES ((size_t)1024)

struct ha_outbox {
  struct {
    struct ha_page *page; /* owner */
    uint64_t list;        /* atomic; 0: empty. See outbox.c */
  } slots[HA_OUTBOX_SLOTS];
};

/* Takes a block of another heap's page. */
void ha_outbox_add(struct ha_outbox *outbox, struct ha_page *page, struct ha_block *block);

/* Hands everything over. */
void ha_outbox_flush(struct ha_outbox *outbox);

/* Adds up the blocks that wait, by size class. Any thread. */
void ha_outbox_count(const struct ha_outbox *outbox, uint64_t *counts);

#endif
