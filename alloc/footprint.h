/* SPDX-License-Identifier: MIT */
/*
 * The footprint: what is in the resident memory of arenas and huge blocks.
 *
 *   resident = live + free in pages + idle
 *
 * The kernel is asked page by page (of blocks) what has memory behind it. Resident memory of a page counts as live up
 * to what its blocks in use take, the rest as free: which OS page holds which block is known to the page's owner only.
 * So blocks that were never written to count as live where others of their page were written and freed. Large blocks
 * are pages of their own, hence exact.
 *
 * Reading stops no one and takes no lock; what changes meanwhile may be counted twice or not at all. Costs a system call
 * for each page, large block and free span: some 16 ms for each GiB of small blocks.
 */
#ifndef HA_ALLOC_FOOTPRINT_H
#define HA_ALLOC_FOOTPRINT_H

#include "alloc/page.h"
#include "alloc/size_class.h"

/* Classes of pages, and the same numbering beyond it for large blocks, of up to 2^47 bytes. */
#define HA_FOOTPRINT_CLASSES ((47 - 7) * 8 + HA_LINEAR_CLASSES)

struct ha_footprint {
  uint64_t live[HA_FOOTPRINT_CLASSES]; /* resident bytes of blocks in use */
  uint64_t live_total;                 /* the sum */
  uint64_t blocks;                     /* bytes of blocks in use, resident or not */
  uint64_t free_in_pages;
  uint64_t idle;
};

/* The class that a block size counts under. */
HA_INLINE unsigned ha_footprint_class(uint64_t block_size) {
  unsigned size_class = ha_class_of(block_size);
  return size_class < HA_FOOTPRINT_CLASSES ? size_class : HA_FOOTPRINT_CLASSES - 1;
}

/* Called for every sampled large block in use. blocks: its weight. */
typedef void ha_footprint_large_fn(const struct ha_entry *entry, double blocks, uint64_t block_size,
                                   uint64_t resident, void *arg);

void ha_footprint_read(struct ha_footprint *footprint, ha_footprint_large_fn *large, void *arg);

/* Visits the address ranges that blocks may be in. */
void ha_footprint_ranges(void (*visit)(const char *start, size_t size, void *arg), void *arg);

/* Visits the descriptors of the threads that have a heap, but for the main thread: each lies at the top of its thread's
 * stack. */
void ha_footprint_threads(void (*visit)(const void *thread, void *arg), void *arg);

#endif
