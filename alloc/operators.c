/* SPDX-License-Identifier: MIT */
/*
 * C++'s operator new and delete in all their forms, under their mangled names (Itanium C++ ABI).
 *
 * Failure follows the standard: the new-handler is called until it gives up; then bad_alloc is thrown, or NULL is
 * returned by the nothrow forms. Handler and exception are libstdc++'s, referred to weakly: a C program does not
 * have them. Every delete frees by address; the sizes and alignments it is told are not needed.
 */
#include <stdlib.h>

#include "alloc/malloc.h"
#include "base/log.h"

typedef void new_handler(void);

extern new_handler *_ZSt15get_new_handlerv(void) __attribute__((weak));     /* std::get_new_handler() */
extern _Noreturn void _ZSt17__throw_bad_allocv(void) __attribute__((weak)); /* std::__throw_bad_alloc() */

static HA_COLD void *retry_new(size_t size, size_t alignment, bool may_throw) {
  void *block = NULL;
  while (block == NULL) {
    new_handler *handler = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
    if (handler == NULL) {
      break;
    }
    handler(); /* makes memory available, throws, or ends the process */
    block = ha_malloc_aligned(size, alignment);
  }
  if (block == NULL && may_throw) {
    if (_ZSt17__throw_bad_allocv == NULL) {
      ha_die("operator new(%zu): out of memory, and there is no C++ runtime to throw with", size);
    }
    _ZSt17__throw_bad_allocv();
  }
  return block;
}

HA_INLINE void *new_block(size_t size, bool may_throw) {
  void *block = ha_malloc(size);
  return ha_likely(block != NULL) ? block : retry_new(size, HA_BLOCK_ALIGNMENT, may_throw);
}

HA_INLINE void *new_aligned(size_t size, size_t alignment, bool may_throw) {
  void *block = ha_malloc_aligned(size, alignment);
  return ha_likely(block != NULL) ? block : retry_new(size, alignment, may_throw);
}

#define NEW(name, may_throw, ...)                                                                            \
  HA_EXPORT void *name(size_t size, ##__VA_ARGS__);                                                          \
  HA_EXPORT void *name(size_t size, ##__VA_ARGS__) {                                                         \
    return new_block(size, may_throw);                                                                       \
  }

#define NEW_ALIGNED(name, may_throw, ...)                                                                    \
  HA_EXPORT void *name(size_t size, size_t alignment, ##__VA_ARGS__);                                        \
  HA_EXPORT void *name(size_t size, size_t alignment, ##__VA_ARGS__) {                                       \
    return new_aligned(size, alignment, may_throw);                                                          \
  }

#define DELETE(name, ...)                                                                                    \
  HA_EXPORT void name(void *block, ##__VA_ARGS__);                                                           \
  HA_EXPORT void name(void *block, ##__VA_ARGS__) {                                                          \
    ha_free(block);                                                                                          \
  }

NEW(_Znwm, true)                                                            /* new */
NEW(_Znam, true)                                                            /* new[] */
NEW(_ZnwmRKSt9nothrow_t, false, const void *nothrow)                        /* new, nothrow */
NEW(_ZnamRKSt9nothrow_t, false, const void *nothrow)                        /* new[], nothrow */
NEW_ALIGNED(_ZnwmSt11align_val_t, true)                                     /* new, aligned */
NEW_ALIGNED(_ZnamSt11align_val_t, true)                                     /* new[], aligned */
NEW_ALIGNED(_ZnwmSt11align_val_tRKSt9nothrow_t, false, const void *nothrow) /* new, aligned, nothrow */
NEW_ALIGNED(_ZnamSt11align_val_tRKSt9nothrow_t, false, const void *nothrow) /* new[], aligned, nothrow */

DELETE(_ZdlPv)                                                /* delete */
DELETE(_ZdaPv)                                                /* delete[] */
DELETE(_ZdlPvm, size_t size)                                  /* delete, sized */
DELETE(_ZdaPvm, size_t size)                                  /* delete[], sized */
DELETE(_ZdlPvRKSt9nothrow_t, const void *nothrow)             /* delete, nothrow */
DELETE(_ZdaPvRKSt9nothrow_t, const void *nothrow)             /* delete[], nothrow */
DELETE(_ZdlPvSt11align_val_t, size_t alignment)               /* delete, aligned */
DELETE(_ZdaPvSt11align_val_t, size_t alignment)               /* delete[], aligned */
DELETE(_ZdlPvmSt11align_val_t, size_t size, size_t alignment) /* delete, sized, aligned */
DELETE(_ZdaPvmSt11align_val_t, size_t size, size_t alignment) /* delete[], sized, aligned */
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t alignment,
       const void *nothrow) /* delete, aligned, nothrow */
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t alignment,
       const void *nothrow) /* delete[], aligned, nothrow */
