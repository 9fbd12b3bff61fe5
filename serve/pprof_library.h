/* SPDX-License-Identifier: MIT */
/*
 * Loading libhalloc-pprof.so, which turns profiles into bytes, when the first profile is written. Programs
 * with halloc linked in statically carry the encoders themselves and load nothing.
 */
#ifndef HA_SERVE_PPROF_LIBRARY_H
#define HA_SERVE_PPROF_LIBRARY_H

#include "proto/encoders.h"

#define HA_PPROF_LIBRARY_NAME "libhalloc-pprof.so.0"

/* The encoders; NULL if the library cannot be loaded or is of another version (one line says so, once). Not
 * from inside malloc. */
const struct ha_encoders *ha_pprof_library(void);

/* The encoders if they are there already, else NULL. Loads nothing, so also from inside malloc. */
const struct ha_encoders *ha_pprof_library_if_loaded(void);

#endif
