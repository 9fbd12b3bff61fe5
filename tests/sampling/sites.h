/* SPDX-License-Identifier: MIT */
/*
 * Twelve sites that allocate, of which is known exactly what they allocated and hold: sizes from 1 byte to 8
 * MiB, one of many sizes, chains of realloc, aligned blocks in short-lived threads; at rates from 4 KiB to 2
 * MiB, some of which change while the site is at work.
 *
 * A run of all sites allocates about 1200 samples at each, and keeps some of the blocks.
 */
#ifndef TESTS_SAMPLING_SITES_H
#define TESTS_SAMPLING_SITES_H

#include "sampler/rows.h"

#define SITES 12

/* In the order of a heap profile's values. */
enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, VALUES };

/* What is true of one value of a site in one run, and of its estimate: the sum over blocks of amount / p for
 * those that are sampled. */
struct truth {
  double exact;
  double variance; /* sum of amount^2 (1 - p) / p */
  double third;    /* third central moment: sum of amount^3 (1 - p) (1 - 2p) / p^2 */
};

const char *site_name(unsigned site);

/* The site that a row belongs to, or SITES. */
unsigned site_of_row(const struct ha_row *row);

/* Runs all sites in the calling thread, then fills in what is true. The blocks that are kept stay until
 * sites_free. */
void sites_run(uint64_t seed, struct truth truths[SITES][VALUES]);
void sites_free(void);

#endif
