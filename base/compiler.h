/* SPDX-License-Identifier: MIT */
/*
 * Compiler vocabulary: the few attributes and helpers every other file uses. Costs nothing at run time.
 */
#ifndef HA_BASE_COMPILER_H
#define HA_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ha_likely(x) __builtin_expect(!!(x), 1)
#define ha_unlikely(x) __builtin_expect(!!(x), 0)

/* A symbol of the public library; everything else is hidden and halloc.map repeats the list. */
#define HA_EXPORT __attribute__((visibility("default")))
/* Runs rarely; keeps the code of the hot paths dense. */
#define HA_COLD __attribute__((cold, noinline))
#define HA_NOINLINE __attribute__((noinline))
#define HA_INLINE static inline __attribute__((always_inline))
#define HA_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
/* Shared data written by different threads is kept on lines of its own. */
#define HA_CACHE_LINE 64
#define HA_CACHE_ALIGNED __attribute__((aligned(HA_CACHE_LINE)))

/* Thread-local storage without calls into ld.so, which may allocate (glibc manual, "Replacing malloc"). */
#define HA_TLS __thread __attribute__((tls_model("initial-exec")))

#define HA_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

HA_INLINE uintptr_t ha_align_up(uintptr_t value, uintptr_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

HA_INLINE uintptr_t ha_align_down(uintptr_t value, uintptr_t power_of_two) {
  return value & ~(power_of_two - 1);
}

HA_INLINE bool ha_is_power_of_two(uintptr_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

#endif
