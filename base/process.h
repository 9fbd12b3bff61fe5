/* SPDX-License-Identifier: MIT */
/*
 * What the kernel counts for the process. Async-signal-safe; keeps errno; opens a file for a moment.
 */
#ifndef HA_BASE_PROCESS_H
#define HA_BASE_PROCESS_H

#include "base/compiler.h"

/* Resident memory in bytes, from /proc/self/statm; 0 if it cannot be read. Some microseconds. */
uint64_t ha_process_rss(void);

/* Reads a part of a file; the bytes read, 0 at its end and if it cannot be read. */
size_t ha_process_read(const char *path, size_t offset, char *out, size_t size);

struct ha_process_faults {
  uint64_t minor;
  uint64_t major;
};

/* Page faults so far, of all threads. */
struct ha_process_faults ha_process_faults(void);

/* Whether the calling thread has thread-local storage: one made by a bare clone may have none. */
bool ha_thread_has_storage(void);

#endif
