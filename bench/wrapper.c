/* SPDX-License-Identifier: MIT */
/*
 * How close can a heap profiler come to mimalloc that is a thin layer in front of it?
 *
 * This is the layer one would write without changing mimalloc: the malloc surface, each entry taking the size
 * off a count of bytes per thread and calling mi_malloc or its kin. When the count falls below zero a sample
 * is due; it is counted, and the next one is due after another interval. Nothing else happens: no stack is
 * walked, nothing is stored, and a free is not examined. So it is a floor: a profiler built this way can cost
 * more, never less.
 *
 * Preloaded as libmi_wrapper.so, which brings libmimalloc.so.2.0 with it.
 */
#include <mimalloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLE_INTERVAL (512 * 1024)
#define EXPORT __attribute__((visibility("default")))

static __thread int64_t bytes_until_sample __attribute__((tls_model("initial-exec"))) = SAMPLE_INTERVAL;
static __thread uint64_t sample_count __attribute__((tls_model("initial-exec")));

static __attribute__((cold, noinline)) void take_sample(void) {
  bytes_until_sample = SAMPLE_INTERVAL;
  sample_count++;
}

static inline __attribute__((always_inline)) void count_bytes(size_t size) {
  bytes_until_sample -= (int64_t)size;
  if (__builtin_expect(bytes_until_sample < 0, false))
    take_sample();
}

static inline size_t saturating_product(size_t count, size_t size) {
  size_t bytes;
  return __builtin_mul_overflow(count, size, &bytes) ? 0 : bytes;
}

/* ---- C ---- */

EXPORT void *malloc(size_t size);
EXPORT void *calloc(size_t count, size_t size);
EXPORT void *realloc(void *block, size_t size);
EXPORT void *reallocarray(void *block, size_t count, size_t size);
EXPORT void free(void *block);
EXPORT void cfree(void *block);
EXPORT void *memalign(size_t alignment, size_t size);
EXPORT void *aligned_alloc(size_t alignment, size_t size);
EXPORT int posix_memalign(void **ret_block, size_t alignment, size_t size);
EXPORT void *valloc(size_t size);
EXPORT void *pvalloc(size_t size);
EXPORT size_t malloc_usable_size(void *block);

void *malloc(size_t size) {
  count_bytes(size);
  return mi_malloc(size);
}

void *calloc(size_t count, size_t size) {
  count_bytes(saturating_product(count, size));
  return mi_calloc(count, size);
}

void *realloc(void *block, size_t size) {
  count_bytes(size);
  return mi_realloc(block, size);
}

void *reallocarray(void *block, size_t count, size_t size) {
  count_bytes(saturating_product(count, size));
  return mi_reallocarray(block, count, size);
}

void free(void *block) {
  mi_free(block);
}

void cfree(void *block) {
  mi_free(block);
}

void *memalign(size_t alignment, size_t size) {
  count_bytes(size);
  return mi_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count_bytes(size);
  return mi_aligned_alloc(alignment, size);
}

int posix_memalign(void **ret_block, size_t alignment, size_t size) {
  count_bytes(size);
  return mi_posix_memalign(ret_block, alignment, size);
}

void *valloc(size_t size) {
  count_bytes(size);
  return mi_valloc(size);
}

void *pvalloc(size_t size) {
  count_bytes(size);
  return mi_pvalloc(size);
}

size_t malloc_usable_size(void *block) {
  return mi_usable_size(block);
}

/*
 * ---- C++: operator new and delete under their Itanium ABI names ----
 *
 * mi_new and mi_new_aligned call the new handler when memory runs out, and then do what mimalloc itself does:
 * its C build, which Debian ships, aborts where C++ would throw. mimalloc finds the size and alignment of a
 * block from its address, so every form of delete is the same.
 */

#define UNUSED __attribute__((unused))

#define DEFINE_NEW(name, parameters, call)                                                                   \
  EXPORT void *name parameters;                                                                              \
  void *name parameters {                                                                                    \
    count_bytes(size);                                                                                       \
    return call;                                                                                             \
  }

#define DEFINE_DELETE(name, parameters)                                                                      \
  EXPORT void name parameters;                                                                               \
  void name parameters {                                                                                     \
    mi_free(block);                                                                                          \
  }

#define SIZED (size_t size)
#define NOTHROW (size_t size, UNUSED const void *tag)
#define ALIGNED (size_t size, size_t alignment)
#define ALIGNED_NOTHROW (size_t size, size_t alignment, UNUSED const void *tag)

DEFINE_NEW(_Znwm, SIZED, mi_new(size))
DEFINE_NEW(_Znam, SIZED, mi_new(size))
DEFINE_NEW(_ZnwmRKSt9nothrow_t, NOTHROW, mi_new_nothrow(size))
DEFINE_NEW(_ZnamRKSt9nothrow_t, NOTHROW, mi_new_nothrow(size))
DEFINE_NEW(_ZnwmSt11align_val_t, ALIGNED, mi_new_aligned(size, alignment))
DEFINE_NEW(_ZnamSt11align_val_t, ALIGNED, mi_new_aligned(size, alignment))
DEFINE_NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, ALIGNED_NOTHROW, mi_new_aligned_nothrow(size, alignment))
DEFINE_NEW(_ZnamSt11align_val_tRKSt9nothrow_t, ALIGNED_NOTHROW, mi_new_aligned_nothrow(size, alignment))

#define BLOCK (void *block)
#define BLOCK_AND_ONE (void *block, UNUSED size_t first)
#define BLOCK_AND_TWO (void *block, UNUSED size_t first, UNUSED size_t second)
#define BLOCK_AND_TAG (void *block, UNUSED const void *tag)
#define BLOCK_ONE_AND_TAG (void *block, UNUSED size_t first, UNUSED const void *tag)

DEFINE_DELETE(_ZdlPv, BLOCK)
DEFINE_DELETE(_ZdaPv, BLOCK)
DEFINE_DELETE(_ZdlPvm, BLOCK_AND_ONE)
DEFINE_DELETE(_ZdaPvm, BLOCK_AND_ONE)
DEFINE_DELETE(_ZdlPvSt11align_val_t, BLOCK_AND_ONE)
DEFINE_DELETE(_ZdaPvSt11align_val_t, BLOCK_AND_ONE)
DEFINE_DELETE(_ZdlPvmSt11align_val_t, BLOCK_AND_TWO)
DEFINE_DELETE(_ZdaPvmSt11align_val_t, BLOCK_AND_TWO)
DEFINE_DELETE(_ZdlPvRKSt9nothrow_t, BLOCK_AND_TAG)
DEFINE_DELETE(_ZdaPvRKSt9nothrow_t, BLOCK_AND_TAG)
DEFINE_DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, BLOCK_ONE_AND_TAG)
DEFINE_DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, BLOCK_ONE_AND_TAG)
