/* SPDX-License-Identifier: MIT */
/*
 * halloc's API for programs that run linked with it and, built without it, under LD_PRELOAD: found at run
 * time. And the two sources that must agree: the exact statistics, and the sums of a profile as a consumer
 * decodes them.
 */
#ifndef TESTS_API_HP_H
#define TESTS_API_HP_H

#include "halloc.h"
#include "tests/test.h"

/* True if the process has halloc at all; the functions below fail the test if it does not. */
bool hp_is_here(void);

struct hp_memstats hp_stats(void);
int64_t hp_rate(int64_t rate);                       /* hp_set_mem_profile_rate */
int hp_profile(const char *name, int fd, int debug); /* hp_write_profile */

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, VALUES };

struct profile_sums {
  int64_t values[VALUES];  /* over all samples of the protobuf form: unbiased estimates */
  int64_t sampled[VALUES]; /* from the first line of the text form: what was really sampled */
};

/* Writes both forms into memory files and adds up. The caller's heap is at rest. */
struct profile_sums profile_sums(void);

/* Resident bytes of the process. */
size_t resident(void);

#endif
