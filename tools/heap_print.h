/* SPDX-License-Identifier: MIT */
/*
 * The forms in which `halloc heap` shows a profile: a table of functions, whole stacks, or JSON.
 */
#ifndef HA_TOOLS_HEAP_PRINT_H
#define HA_TOOLS_HEAP_PRINT_H

#include "tools/accuracy.h"
#include "tools/stacks.h"
#include "tools/top.h"

/* The sample type of profiles of resident memory. */
#define HA_RSS_TYPE "rss_space"

struct ha_heap_view {
  const struct ha_pprof *profile;
  const struct ha_stacks *stacks;
  const struct ha_top *top;
  size_t type;  /* the sample type shown */
  size_t shown; /* entries shown, at most top->count */
  bool has_errors;
};

void ha_heap_print_text(const struct ha_heap_view *view);
void ha_heap_print_json(const struct ha_heap_view *view);

#endif
