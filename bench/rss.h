/* SPDX-License-Identifier: MIT */
/* The resident memory of this process, for the programs that ask how it grows. */
#ifndef HALLOC_BENCH_RSS_H
#define HALLOC_BENCH_RSS_H

#include <stdint.h>

/* Bytes, counted from the page tables: statm lags by some pages for each thread. Does not allocate. */
int64_t bench_rss_bytes(void);

#endif
