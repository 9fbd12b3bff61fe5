/* SPDX-License-Identifier: MIT */
/*
 * Finds the live page, which the admin port serves at "/": in libhalloc-pprof.so, or in the program itself
 * where halloc is linked in statically.
 */
#ifndef HA_SERVE_LIVE_PAGE_H
#define HA_SERVE_LIVE_PAGE_H

#include "page/live_page.h"

/* The page; NULL with *ret_reason set to a text if the library cannot be loaded or is of another version.
 * Not from inside malloc. */
const struct ha_live_page *ha_live_page_find(const char **ret_reason);

#endif
