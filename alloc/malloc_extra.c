/* SPDX-License-Identifier: MIT */
/*
 * The rest of the malloc family: every name that glibc, C23 or mimalloc's own override export, so that no
 * allocation of the process slips past. glibc's semantics, down to which of them set errno.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/malloc.h"
#include "base/os.h"

/* Names without a declaration in any header of the system. */
HA_EXPORT void *reallocf(void *block, size_t size);
HA_EXPORT int reallocarr(void *where, size_t count, size_t size);
HA_EXPORT void free_sized(void *block, size_t size);
HA_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size);
HA_EXPORT void *memalign(size_t alignment, size_t size);
HA_EXPORT void *pvalloc(size_t size);
HA_EXPORT void *_aligned_malloc(size_t alignment, size_t size);
HA_EXPORT size_t malloc_usable_size(void *block);
HA_EXPORT size_t malloc_size(const void *block);
HA_EXPORT size_t malloc_good_size(size_t size);
HA_EXPORT void cfree(void *block);
HA_EXPORT void vfree(void *block);
HA_EXPORT void *__libc_malloc(size_t size);
HA_EXPORT void *__libc_calloc(size_t count, size_t size);
HA_EXPORT void *__libc_realloc(void *block, size_t size);
HA_EXPORT void __libc_free(void *block);
HA_EXPORT void __libc_cfree(void *block);
HA_EXPORT void *__libc_memalign(size_t alignment, size_t size);
HA_EXPORT void *__libc_valloc(size_t size);
HA_EXPORT void *__libc_pvalloc(size_t size);
HA_EXPORT int __posix_memalign(void **result, size_t alignment, size_t size);

HA_EXPORT void *reallocarray(void *block, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return NULL;
  }
  return realloc(block, total);
}

/* BSD: as realloc, but a failure frees the block. */
HA_EXPORT void *reallocf(void *block, size_t size) {
  void *moved = realloc(block, size);
  if (moved == NULL && size != 0) {
    ha_free(block);
  }
  return moved;
}

/* NetBSD: `where` is the address of the pointer; the result is an error number and errno stays. */
HA_EXPORT int reallocarr(void *where, size_t count, size_t size) {
  int saved = errno;
  void *block;
  memcpy(&block, where, sizeof block);
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    return EOVERFLOW;
  }
  void *moved = realloc(block, total);
  errno = saved;
  if (moved == NULL && total != 0) {
    return ENOMEM;
  }
  memcpy(where, &moved, sizeof moved);
  return 0;
}

/* The size is the caller's claim; the page knows better. */
HA_EXPORT void free_sized(void *block, size_t size) {
  (void)size;
  ha_free(block);
}

HA_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size) {
  (void)alignment;
  (void)size;
  ha_free(block);
}

/* glibc 2.36: any alignment goes, rounded up to a power of two; EINVAL only when there is none that large. */
HA_EXPORT void *memalign(size_t alignment, size_t size) {
  if (alignment > SIZE_MAX / 2 + 1) {
    errno = EINVAL;
    return NULL;
  }
  size_t power = HA_BLOCK_ALIGNMENT;
  while (power < alignment) {
    power *= 2;
  }
  return ha_malloc_aligned(size, power);
}

HA_EXPORT void *aligned_alloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}

HA_EXPORT int posix_memalign(void **result, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) != 0 || !ha_is_power_of_two(alignment)) {
    return EINVAL;
  }
  int saved = errno;
  void *block = ha_malloc_aligned(size, alignment);
  errno = saved;
  if (block == NULL) {
    return ENOMEM;
  }
  *result = block;
  return 0;
}

HA_EXPORT void *valloc(size_t size) {
  return memalign(HA_OS_PAGE, size);
}

HA_EXPORT void *pvalloc(size_t size) {
  if (size > SIZE_MAX - HA_OS_PAGE) {
    errno = ENOMEM;
    return NULL;
  }
  return memalign(HA_OS_PAGE, ha_align_up(size, HA_OS_PAGE));
}

/* The order of mimalloc's export of this name, which is not that of Windows. */
HA_EXPORT void *_aligned_malloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}

/* Equal for sampled and unsampled blocks, and constant for a block's life. 0 for what is not ours. */
HA_EXPORT size_t malloc_usable_size(void *block) {
  const struct ha_page *page = ha_page_of(block);
  return page != NULL && ha_load_relaxed(&page->kind) > HA_PAGE_FREE ? page->block_size : 0;
}

HA_EXPORT size_t malloc_size(const void *block) {
  return malloc_usable_size((void *)(uintptr_t)block);
}

HA_EXPORT size_t malloc_good_size(size_t size) {
  if (size > PTRDIFF_MAX) {
    return size;
  }
  return size <= HA_MEDIUM_MAX ? ha_class_size(ha_class_of(size)) : ha_align_up(size, HA_OS_PAGE);
}

HA_EXPORT void cfree(void *block) {
  ha_free(block);
}

HA_EXPORT void vfree(void *block) {
  ha_free(block);
}

HA_EXPORT void *__libc_malloc(size_t size) {
  return ha_malloc(size);
}

HA_EXPORT void *__libc_calloc(size_t count, size_t size) {
  return calloc(count, size);
}

HA_EXPORT void *__libc_realloc(void *block, size_t size) {
  return realloc(block, size);
}

HA_EXPORT void __libc_free(void *block) {
  ha_free(block);
}

HA_EXPORT void __libc_cfree(void *block) {
  ha_free(block);
}

HA_EXPORT void *__libc_memalign(size_t alignment, size_t size) {
  return memalign(alignment, size);
}

HA_EXPORT void *__libc_valloc(size_t size) {
  return valloc(size);
}

HA_EXPORT void *__libc_pvalloc(size_t size) {
  return pvalloc(size);
}

HA_EXPORT int __posix_memalign(void **result, size_t alignment, size_t size) {
  return posix_memalign(result, alignment, size);
}
