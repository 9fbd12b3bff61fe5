/* SPDX-License-Identifier: MIT */
/*
 * The resident memory of the process by whose it is, from its mappings.
 *
 * Every mapping of /proc/self/smaps is counted once, with the resident bytes that the kernel gives for it, so the parts
 * add up to the process's resident size. Whose a mapping is:
 *
 *   heap       ranges of arenas and huge blocks
 *   own        halloc's tables, its libraries' files, and the memory in which this profile is made
 *   stacks     [stack]; and where the descriptor of a thread that has a heap lies, from the start of the mapping
 *              up to there: glibc puts the descriptor on top of the stack
 *   files      mappings of files, shared or not, and the anonymous memory right behind one (its zeroed data)
 *   anonymous  all other: the program's own mmap, brk, stacks that ended or whose thread never allocated
 *
 * The kernel joins neighbours of equal kind into one mapping. Where ours are only a part of one, that part is counted
 * OS page by OS page, and the rest is what remains.
 */
#ifndef HA_SERVE_RSS_MAPPINGS_H
#define HA_SERVE_RSS_MAPPINGS_H

#include "base/compiler.h"
#include "serve/kinds.h"

struct ha_rss_mappings {
  uint64_t heap, own, stacks, files, anonymous; /* resident bytes */
  uint64_t total;
  uint64_t process; /* VmRSS as the kernel counts it elsewhere, read at the end */
};

/* 0 or -errno: without /proc there is no answer. */
int ha_rss_mappings_read(struct ha_rss_mappings *mappings, const struct ha_kind_memory *memory);

#endif
