/* SPDX-License-Identifier: MIT */
/*
 * The report of a memory limit that could not be kept: one line on standard error that names the largest live
 * allocation sites and, if HALLOC_MEMPROFILE is set, a heap profile at that path with ".limit" appended.
 *
 *   halloc: memory limit 256.0 MiB exceeded by 12.3 MiB; largest live sites: NAME 100.0 MiB, ... (10 of 123)
 *
 * Runs on the background thread or, without one, inside malloc. So it calls no malloc, its memory is a
 * scratch heap, and it takes some 7 KiB of stack. libhalloc-pprof.so is loaded here only by the background
 * thread; elsewhere it is there already, or the line goes without sites.
 */
#ifndef HA_SERVE_LIMIT_REPORT_H
#define HA_SERVE_LIMIT_REPORT_H

#include <stdint.h>

/* Both in bytes. One call at a time; not with a lock held. Keeps errno. */
void ha_limit_report(uint64_t limit, uint64_t quantity);

#endif
