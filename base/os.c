/* SPDX-License-Identifier: MIT */
/*
 * mmap and munmap through syscall(2)'s raw siblings: libc's wrappers may be interposed by other preloaded
 * libraries that allocate, so the calls are made directly.
 */
#include "base/os.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ASKED_AT_ONCE 2048 /* OS pages */

static void *map(size_t size, int protection, int flags) {
  int saved = errno;
  long start = syscall(SYS_mmap, NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  errno = saved;
  return start == -1 ? NULL : (void *)start;
}

void *ha_os_map(size_t size) {
  return map(size, PROT_READ | PROT_WRITE, 0);
}

void *ha_os_reserve(size_t size) {
  return map(size, PROT_READ | PROT_WRITE, MAP_NORESERVE);
}

bool ha_os_wipe_on_fork(void *start, size_t size) {
  int saved = errno;
  bool done = syscall(SYS_madvise, start, size, MADV_WIPEONFORK) == 0;
  errno = saved;
  return done;
}

bool ha_os_keep_from_children(void *start, size_t size) {
  int saved = errno;
  bool done = syscall(SYS_madvise, start, size, MADV_DONTFORK) == 0;
  errno = saved;
  return done;
}

bool ha_os_release(void *start, size_t size) {
  int saved = errno;
  bool done = syscall(SYS_madvise, start, size, MADV_DONTNEED) == 0;
  errno = saved;
  return done;
}

int ha_os_remap(void *start, size_t size, size_t new_size, void *target) {
  int saved = errno;
  int flags = target != NULL ? MREMAP_MAYMOVE | MREMAP_FIXED : 0;
  int error = syscall(SYS_mremap, start, size, new_size, flags, target) == -1 ? -errno : 0;
  errno = saved;
  return error;
}

bool ha_os_count_resident(const void *start, size_t size, size_t *ret_pages) {
  int saved = errno;
  size_t count = 0;
  bool is_known = true;
  for (size_t done = 0; done < size && is_known;) {
    unsigned char pages[ASKED_AT_ONCE];
    size_t step = size - done < sizeof pages * HA_OS_PAGE ? size - done : sizeof pages * HA_OS_PAGE;
    bool has_answer = syscall(SYS_mincore, (const char *)start + done, step, pages) == 0;
    for (size_t i = 0; has_answer && i < step / HA_OS_PAGE; i++) {
      count += pages[i] & 1;
    }
    is_known = has_answer || errno == ENOMEM;
    done += step;
  }
  errno = saved;
  *ret_pages = count;
  return is_known;
}

bool ha_os_unmap(void *start, size_t size) {
  int saved = errno;
  bool done = syscall(SYS_munmap, start, size) == 0;
  if (!done) {
    /* Out of map entries, or forbidden: at least the memory goes back. */
    syscall(SYS_madvise, start, size, MADV_DONTNEED);
  }
  errno = saved;
  return done;
}

void *ha_os_map_aligned(size_t size, size_t alignment) {
  if (alignment <= HA_OS_PAGE) {
    return ha_os_map(size);
  }
  size_t padded;
  if (__builtin_add_overflow(size, alignment - HA_OS_PAGE, &padded)) {
    return NULL;
  }
  char *start = ha_os_map(padded);
  if (start == NULL) {
    return NULL;
  }
  char *aligned = (char *)ha_align_up((uintptr_t)start, alignment);
  size_t before = (size_t)(aligned - start);
  size_t after = padded - size - before;
  /* If trimming fails the surplus stays mapped but untouched: it costs address space only. */
  if (before > 0) {
    ha_os_unmap(start, before);
  }
  if (after > 0) {
    ha_os_unmap(aligned + size, after);
  }
  return aligned;
}
