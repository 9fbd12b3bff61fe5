/* SPDX-License-Identifier: MIT */
/*
 * Loading libhalloc-pprof.so, which turns profiles into bytes, when the first profile is written.
 *
 * It is looked for beside libhalloc.so, then where ld.so looks. Never loaded from inside malloc. Programs
 * with halloc linked in statically carry the encoders themselves and load nothing.
 */
#ifndef HA_SERVE_PPROF_LIBRARY_H
#define HA_SERVE_PPROF_LIBRARY_H

#include "proto/encoders.h"

/* Remembers where libhalloc.so is, in case it was named relative to a directory that the program leaves.
 * Once, at start-up. */
void ha_pprof_library_prepare(void);

/* The encoders; NULL if the library cannot be loaded or is of another version (one line says so, once). */
const struct ha_encoders *ha_pprof_library(void);

#endif
