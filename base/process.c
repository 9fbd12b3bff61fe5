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

static long read_whole(const char *path, char *text, size_t size) {
  long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return -1;
  }
  long length = syscall(SYS_read, fd, text, size);
  syscall(SYS_close, fd);
  return length;
}

/* The second number of the text: resident OS pages. */
static uint64_t second_number(const char *text, long length) {
  long at = 0;
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
  int saved = errno;
  char text[TEXT_SIZE];
  long length = read_whole("/proc/self/statm", text, sizeof text);
  errno = saved;
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
