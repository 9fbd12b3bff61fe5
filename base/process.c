/* SPDX-License-Identifier: MIT */
/*
 * Bare system calls: libc's wrappers are cancellation points and may be interposed.
 */
#include "base/process.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/os.h"

#define TEXT_SIZE 128

size_t ha_process_read(const char *path, size_t offset, char *out, size_t size) {
  int saved = errno;
  long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  long length = fd >= 0 ? syscall(SYS_pread64, fd, out, size, offset) : 0;
  if (fd >= 0) {
    syscall(SYS_close, fd);
  }
  errno = saved;
  return length > 0 ? (size_t)length : 0;
}

/* The second number of the text: resident OS pages. */
static uint64_t second_number(const char *text, size_t length) {
  size_t at = 0;
  uint64_t value = 0;
  while (at < length && text[at] != ' ') {
    at++;
  }
  for (at++; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
    value = value * 10 + (uint64_t)(text[at] - '0');
  }
  return value;
}

uint64_t ha_process_rss(void) {
  char text[TEXT_SIZE];
  size_t length = ha_process_read("/proc/self/statm", 0, text, sizeof text);
  return second_number(text, length) * HA_OS_PAGE;
}

struct ha_process_faults ha_process_faults(void) {
  int saved = errno;
  struct rusage usage = {0};
  syscall(SYS_getrusage, RUSAGE_SELF, &usage);
  errno = saved;
  return (struct ha_process_faults){(uint64_t)usage.ru_minflt, (uint64_t)usage.ru_majflt};
}

/* No libc function, which would write errno into the storage. */
bool ha_thread_has_storage(void) {
  uintptr_t start = 0;
  long result = SYS_arch_prctl;
  __asm__ volatile("syscall" : "+a"(result) : "D"((long)ARCH_GET_FS), "S"(&start) : "rcx", "r11", "memory");
  return result == 0 && start != 0;
}
