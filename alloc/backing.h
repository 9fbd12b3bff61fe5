/* SPDX-License-Identifier: MIT */
/*
 * Where arenas come from: mimalloc's OS layer, which brings large OS pages and NUMA placement.
 *
 * Each arena is an exclusive mimalloc arena, from which mimalloc itself never allocates. When mimalloc has no slot
 * or the kernel refuses the size, plain mappings serve instead.
 */
#ifndef HA_ALLOC_BACKING_H
#define HA_ALLOC_BACKING_H

#include "base/compiler.h"

/* Zeroed memory of at least `least` and at best `wish` bytes (multiples of a slice), aligned to a slice.
 * Returns the start and sets *size, or NULL. Keeps errno. */
char *ha_backing_reserve(size_t wish, size_t least, size_t *size);

#endif
