/* SPDX-License-Identifier: MIT */
/*
 * The profile "fragmentation": free memory that pages in use hold, by the sites whose live blocks hold the pages.
 *
 * How much free memory the pages of a size class hold is counted exactly. Whose blocks lie in them is not known, since
 * only samples have a stack. The estimate: all live blocks of a class hold an equal share, so a site's is in proportion
 * to its estimated live objects of the class. It tells which sites keep blocks of the classes that are fragmented,
 * and is right for a site whose blocks lie as the others of their class do; which blocks are the last of their page it
 * does not know. What a class without any live sample holds is under [unknown].
 *
 *   sum of the rows of a class = free bytes of the class
 */
#ifndef HA_SAMPLER_FRAGMENTATION_H
#define HA_SAMPLER_FRAGMENTATION_H

#include "base/array.h"
#include "sampler/rows.h"

struct ha_fragmentation_class {
  uint64_t free_bytes; /* exact */
  uint64_t block_size;
  uint64_t live;  /* sum of weights of the sites */
  uint64_t given; /* of those, of the rows that were visited */
};

struct ha_fragmentation {
  struct ha_array sites;
  struct ha_fragmentation_class *classes; /* those that have pages */
  uint32_t class_count;
};

/* Gathers the sites; classes are given, with free bytes and block size. False without memory. */
bool ha_fragmentation_gather(struct ha_fragmentation *fragmentation, struct ha_memory memory);

/* Fills everything but time and comments. fragmentation must live as long as the profile is read. */
void ha_fragmentation_profile(struct ha_profile *profile, const char *name,
                              const struct ha_fragmentation *fragmentation);

#endif
