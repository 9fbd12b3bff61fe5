/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about the memory of this process, for tests that compare it with what halloc says.
 * Nothing here allocates.
 */
#ifndef TESTS_API_KERNEL_H
#define TESTS_API_KERNEL_H

#include "tests/test.h"

#define KERNEL_PAGE ((size_t)4096)
#define KERNEL_MAPS_MAX 4096

struct kernel_map {
  uintptr_t start;
  uintptr_t end;
  size_t resident;   /* Rss */
  bool is_anonymous; /* private, readable and writable, without file or kernel name such as [stack] */
};

/* All mappings in order of address, from /proc/self/smaps. Returns how many. One call at a time. */
size_t kernel_maps(struct kernel_map *maps, size_t room);

/* The mapping that holds the address, or NULL. */
const struct kernel_map *kernel_map_of(const struct kernel_map *maps, size_t count, const void *address);

/* Resident bytes of the process, counted from the page tables (statm lags by some pages for each thread). */
size_t kernel_resident(void);

/* One byte per OS page from `start` on: 1 if it is resident. What is not mapped is not resident. */
void kernel_residency(const char *start, size_t os_pages, unsigned char *is_resident);

/* Page faults so far that needed no input: first touches, and touches of what had been given back. */
uint64_t kernel_faults(void);

/* Nanoseconds of a steady clock. */
uint64_t kernel_now(void);

#endif
