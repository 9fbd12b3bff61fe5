/* SPDX-License-Identifier: MIT */
/*
 * The only code that asks the kernel for address space.
 *
 * For all functions: sizes are multiples of the OS page; errno is preserved; nothing is fatal. Memory that could
 * not be returned stays mapped and is given back to the kernel by content, or else counted as lost.
 */
#ifndef HA_BASE_OS_H
#define HA_BASE_OS_H

#include "base/compiler.h"

#define HA_OS_PAGE ((size_t)4096)

/* Zeroed private memory, or NULL. */
void *ha_os_map(size_t size);

/* As ha_os_map, with the start a multiple of alignment (a power of two of at least one OS page). */
void *ha_os_map_aligned(size_t size, size_t alignment);

/* Address space that costs nothing until touched and is not charged to the overcommit limit where the kernel
 * allows. */
void *ha_os_reserve(size_t size);

/* The range reads as zero in children of any kind of fork. False if the kernel cannot (before Linux 4.14). */
bool ha_os_wipe_on_fork(void *start, size_t size);

/* The range does not exist in children of fork. False if the kernel refuses. */
bool ha_os_keep_from_children(void *start, size_t size);

/* Makes a mapping longer where it is (target NULL) or moves it, content and all, over the mapping at target. 0, or
 * -errno; the mapping is then as it was. */
int ha_os_remap(void *start, size_t size, size_t new_size, void *target);

/* Drops the range's content and memory; it stays mapped and reads as zero. False if the kernel refuses. */
bool ha_os_release(void *start, size_t size);

/* How many OS pages of the range, which is private memory, have memory behind them, the kernel's page of zeros included.
 * What is not mapped has none. False if the kernel does not tell. */
bool ha_os_count_resident(const void *start, size_t size, size_t *ret_pages);

/* Gives the range back. If the kernel refuses, the content is dropped and false is returned. */
bool ha_os_unmap(void *start, size_t size);

#endif
