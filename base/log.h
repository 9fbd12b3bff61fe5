/* SPDX-License-Identifier: MIT */
/*
 * One line to standard error, formatted without stdio, without allocating and without locks.
 *
 * The library speaks only when a variable is malformed, when it is asked to, or right before it aborts. A line
 * is written by one write(2), so lines of several processes do not mix. Longer lines are cut at HA_LOG_MAX.
 */
#ifndef HA_BASE_LOG_H
#define HA_BASE_LOG_H

#include <stdarg.h>

#include "base/compiler.h"

#define HA_LOG_MAX 1024

/* A small subset of printf: %s %c %d %u %x with l, ll or z, %p, %%; returns the length that was needed. */
size_t ha_format(char *out, size_t size, const char *format, ...) HA_PRINTF(3, 4);
size_t ha_vformat(char *out, size_t size, const char *format, va_list args) HA_PRINTF(3, 0);

/* Writes "halloc: <text>\n". Keeps errno. Async-signal-safe. */
void ha_log(const char *format, ...) HA_PRINTF(1, 2);

/* As ha_log, then abort(). For misuse of the heap that would corrupt it (a double free, a foreign pointer).
 */
_Noreturn void ha_die(const char *format, ...) HA_PRINTF(1, 2);

#endif
