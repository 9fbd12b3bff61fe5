/* SPDX-License-Identifier: MIT */
/*
 * The live page as bytes, compressed with gzip. It lies in libhalloc-pprof.so beside the encoders of
 * profiles, so that only processes that show it have it; serve/live_page.h finds it.
 */
#ifndef HA_PAGE_LIVE_PAGE_H
#define HA_PAGE_LIVE_PAGE_H

#include "base/compiler.h"

/* Of this struct: both libraries must have been built for the same one. */
#define HA_LIVE_PAGE_VERSION 1

struct ha_live_page {
  size_t version;
  size_t size;
  const void *gzip;
  const char *policy; /* for the Content-Security-Policy of the answer */
};

extern const struct ha_live_page ha_live_page;

#endif
