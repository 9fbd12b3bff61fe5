/* SPDX-License-Identifier: MIT */
/*
 * Atomics with the memory order in the name, so that every use says what it relies on.
 *
 * The macros take a pointer to a plain object. Fields that only their owner writes and that others read for
 * statistics use the relaxed forms on the reader's side; the owner may use plain accesses, since aligned words
 * up to eight bytes are not torn on the supported machines (x86-64, arm64).
 */
#ifndef HA_BASE_ATOMIC_H
#define HA_BASE_ATOMIC_H

#include "base/compiler.h"

#define ha_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define ha_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define ha_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define ha_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define ha_add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define ha_exchange_acq_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
/* On failure *expected holds the value found. */
#define ha_cas_weak_acq_rel(p, expected, desired)                                                            \
  __atomic_compare_exchange_n((p), (expected), (desired), true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define ha_cas_strong_acq_rel(p, expected, desired)                                                          \
  __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* Two words at once: a struct of 16 bytes, so aligned. On failure *expected holds what was found. */
#define ha_cas_pair(p, expected, desired)                                                                    \
  ha_cas_words((uint64_t *)(void *)(p), (uint64_t *)(void *)(expected), (const uint64_t *)(const void *)(desired))

HA_INLINE bool ha_cas_words(uint64_t *pair, uint64_t *expected, const uint64_t *desired) {
#ifdef __x86_64__
  bool is_done;
  __asm__ volatile("lock cmpxchg16b %1"
                   : "=@ccz"(is_done), "+m"(*(unsigned __int128 *)(void *)pair), "+a"(expected[0]), "+d"(expected[1])
                   : "b"(desired[0]), "c"(desired[1])
                   : "memory");
  return is_done;
#else
  return __atomic_compare_exchange((unsigned __int128 *)(void *)pair, (unsigned __int128 *)(void *)expected,
                                   (unsigned __int128 *)(uintptr_t)desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
#endif
}

/* A counter that one thread writes at a time: cheaper than an atomic add, never torn for readers. */
#define ha_owner_add(p, v) ha_store_relaxed((p), ha_load_relaxed(p) + (v))

#endif
