/* SPDX-License-Identifier: MIT */
/*
 * Which OS pages of the arenas may be resident: one bit each, 32 KiB of bits per GiB.
 *
 * A bit is set before the page is first written and cleared after it was given back to the kernel. So a page whose bit
 * is clear is zero and takes no memory, and what the bits say is what HeapReleased and the memory limit count.
 *
 *   resident OS pages = sum of the bits that are set
 *
 * Bits are changed atomically by whoever holds the span they describe: its user while it is in use, who frees, cuts or
 * releases it (HA_RANK_ARENA or HA_RANK_RELEASE) while it is free. Functions may be called by any thread.
 */
#ifndef HA_ALLOC_RESIDENT_H
#define HA_ALLOC_RESIDENT_H

#include "base/compiler.h"

#define HA_ARENA_MAX 512

/* Makes bits for an arena, all clear. False without memory. HA_RANK_ARENA. */
bool ha_resident_add_arena(unsigned arena, char *start, size_t size);

/* Sets the bits of all OS pages that the range touches; returns how many were clear. A few instructions when none was. */
size_t ha_resident_set(unsigned arena, const char *start, size_t size);

/* Clears the bits of the OS pages in the range (multiples of an OS page); returns how many were set. */
size_t ha_resident_clear(unsigned arena, const char *start, size_t size);

/* How many are set. */
size_t ha_resident_count(unsigned arena, const char *start, size_t size);

/* Resident OS pages of all arenas. */
uint64_t ha_resident_pages(void);

#endif
