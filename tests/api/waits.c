/* SPDX-License-Identifier: MIT */
/*
 * The profiles are read in their text form, whose names come from the symbol table.
 */
#include "tests/api/waits.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/api/hp.h"

#define TEXT_MAX ((size_t)4 << 20)

int set_fraction(int n) {
  int (*set)(int);
  *(void **)&set = dlsym(RTLD_DEFAULT, "hp_set_mutex_profile_fraction");
  return set(n);
}

void set_rate(int64_t ns) {
  void (*set)(int64_t);
  *(void **)&set = dlsym(RTLD_DEFAULT, "hp_set_block_profile_rate");
  set(ns);
}

bool has_locks(void) {
  return dlsym(RTLD_DEFAULT, "ha_lock_hooks") != NULL;
}

int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

struct timespec in_real_time(int64_t nanos) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  nanos += time.tv_nsec;
  return (struct timespec){time.tv_sec + nanos / 1000000000, nanos % 1000000000};
}

struct sums sums_of(const char *profile, const char *word) {
  int fd = memfd_create("profile", MFD_CLOEXEC);
  CHECK_EQ(hp_profile(profile, fd, 1), 0);
  char *text = mmap(NULL, TEXT_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(text != MAP_FAILED && pread(fd, text, TEXT_MAX - 1, 0) > 0, "no profile");
  close(fd);
  struct sums sums = {0, 0, 0};
  const char *at = strstr(text, "sampling period=1\n");
  CHECK(at != NULL, "it begins with %.60s", text);
  const char *map = strstr(text, "--- Memory map");
  CHECK(map != NULL, "no memory map");
  for (at = strchr(at, '\n') + 1; at < map && *at != '\n';) {
    const char *end = strstr(at, "\n\n");
    long long nanos, contentions;
    CHECK(sscanf(at, "%lld %lld @ 0x", &nanos, &contentions) == 2, "a row begins with %.60s", at);
    if (memmem(at, (size_t)(end - at), word, strlen(word)) != NULL) {
      sums.nanos += nanos;
      sums.contentions += contentions;
      sums.rows++;
    }
    at = end + 2;
  }
  munmap(text, TEXT_MAX);
  return sums;
}

void wait_until_it_waits(pid_t *id) {
  char path[64], text[64] = "";
  do {
    sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)__atomic_load_n(id, __ATOMIC_ACQUIRE));
    int fd = open(path, O_RDONLY);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    text[length > 0 ? length : 0] = '\0';
    close(fd);
  } while (atoi(text) != SYS_futex);
}
