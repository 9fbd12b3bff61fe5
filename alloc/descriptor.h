/* SPDX-License-Identifier: MIT */
/*
 * Page descriptors: where every struct ha_page lives.
 *
 * They are cut from chunks that are never freed, and reused, so a pointer to one can be followed at any time:
 * statistics walk all of them without a lock and look at the kind to know which are in use.
 */
#ifndef HA_ALLOC_DESCRIPTOR_H
#define HA_ALLOC_DESCRIPTOR_H

#include "alloc/page.h"

/* A descriptor of kind HA_PAGE_UNUSED, or NULL without memory; and its way back. HA_RANK_ARENA held. */
struct ha_page *ha_descriptor_alloc_locked(void);
void ha_descriptor_free_locked(struct ha_page *page);

/* Visits every descriptor that was ever used, without a lock. */
void ha_descriptor_visit(void (*visit)(const struct ha_page *page, void *arg), void *arg);

#endif
