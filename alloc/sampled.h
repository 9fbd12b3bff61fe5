/* SPDX-License-Identifier: MIT */
/*
 * Where sampled blocks live: in pages of their own, packed, with a record per block beside the page.
 *
 * No thread owns such pages, so that the ownership compare every free makes anyway finds them. A sampled block has
 * the usable size of its class and nothing in or around it that an ordinary block has not.
 */
#ifndef HA_ALLOC_SAMPLED_H
#define HA_ALLOC_SAMPLED_H

#include "alloc/page.h"

/* Records in a chunk. */
#define HA_SAMPLE_CHUNK 16

/* A block of the class, recorded as a sample of the calling stack; NULL if the sample was dropped (counted).
 */
void *ha_sampled_alloc(unsigned size_class, size_t requested, int64_t rate);

/* A block for a thread that has no heap (any more): sampled or not as the rate has it. NULL without memory.
 */
void *ha_homeless_alloc(unsigned size_class, size_t requested);

/* The block of a page of samples is being freed: its record is retired. Aborts if it was freed before. */
void ha_sampled_free(struct ha_page *page, void *block);

/* Makes a new page one of samples; and its way back. The records come in chunks, as blocks are carved: most pages of
 * samples hold a few blocks at a time. */
bool ha_sampled_page_prepare(struct ha_page *page);
void ha_sampled_page_done(struct ha_page *page);

/* Makes records for the next blocks to be carved, for `count` of them at most. Returns for how many; 0 without memory. */
uint32_t ha_sampled_page_extend(struct ha_page *page, uint32_t count);

#endif
