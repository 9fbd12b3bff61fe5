/* SPDX-License-Identifier: MIT */
/*
 * A walk over all live samples, while other threads allocate and free.
 *
 * Takes no lock and stops no one. Records lie in chunks beside their page, or in the descriptor of a large block;
 * both are used for other things when the page is given back, so what was read counts only if the page's version
 * has not changed meanwhile (ha_page_begin_change). Memory of descriptors and records is never unmapped, so that
 * reading it is safe in any case; pointers in it are followed only once they are known to be valid.
 *
 * A sample that lives throughout the walk is visited once, unless its page changes each time that it is looked at
 * (TRIES in live.c); one that is taken or freed meanwhile may be. Costs one load for each descriptor and about
 * 20 ns for each record.
 */
#ifndef HA_ALLOC_LIVE_H
#define HA_ALLOC_LIVE_H

#include "sampler/sample.h"

/* fn gets a copy of the record. */
void ha_live_visit(ha_live_sample_fn *fn, void *arg);

#endif
