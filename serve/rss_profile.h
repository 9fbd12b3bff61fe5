/* SPDX-License-Identifier: MIT */
/*
 * The profile "rss": the resident memory of the process, so that its rows add up to VmRSS.
 *
 *   stacks                        live blocks, as far as they are resident
 *   [not sampled]                 live blocks of sizes of which no sample is live
 *   [free in pages]               free blocks, and memory not cut into blocks, in pages that hold live ones
 *   [idle]                        resident free spans
 *   [halloc itself]  [stacks]  [files]  [anonymous mappings]        see rss_mappings.h
 *
 * What is live, free and idle is exact for each size class (footprint.h). The samples only divide a class among its
 * stacks: a row gets the share of its class that its estimate has in the estimates of the class. So the rows of a class
 * add up to what the class really takes, and blocks that are not resident count nowhere. Within a class all blocks are
 * taken to be resident to the same degree, but for large ones: of these each sampled block counts with its own resident
 * bytes. "heap" keeps the plain estimates, since only they can be subtracted from each other and have known errors.
 *
 * The kernel's resident size of the ranges that hold blocks is the total of the first four kinds; it differs from the
 * count by OS page in pages of zeros that were only read, and in what changes meanwhile.
 */
#ifndef HA_SERVE_RSS_PROFILE_H
#define HA_SERVE_RSS_PROFILE_H

#include "serve/kinds.h"

/* The open function of the kind. -ENOENT and the like without /proc; -ENOMEM. */
int ha_rss_profile(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory);

#endif
