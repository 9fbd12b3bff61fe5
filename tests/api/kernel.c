/* SPDX-License-Identifier: MIT */
#include "tests/api/kernel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define HEX 16
#define DECIMAL 10
#define SMAPS_ROOM ((size_t)4 << 20)

static size_t read_file(const char *path, char *text, size_t room) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0, "%s: %s", path, strerror(errno));
  size_t size = 0;
  ssize_t count;
  while (size + 1 < room && (count = read(fd, text + size, room - 1 - size)) > 0) {
    size += (size_t)count;
  }
  close(fd);
  CHECK(size + 1 < room, "%s is too long", path);
  text[size] = '\0';
  return size;
}

/* "start-end rw-p offset device inode   [name]": true if the line is one. */
static bool parse_head(const char *line, struct kernel_map *map) {
  char *at;
  map->start = strtoul(line, &at, HEX);
  if (at == line || *at != '-') {
    return false;
  }
  map->end = strtoul(at + 1, &at, HEX);
  bool is_private = strncmp(at, " rw-p", 5) == 0;
  for (int field = 0; field < 4 && at != NULL; field++) {
    at = strchr(at + 1, ' ');
  }
  unsigned long inode = at != NULL ? strtoul(at, &at, DECIMAL) : 1;
  at = at != NULL ? at + strspn(at, " ") : NULL;
  bool is_named = at != NULL && *at != '\n' && strncmp(at, "[anon:", 6) != 0;
  map->is_anonymous = is_private && inode == 0 && !is_named;
  map->resident = 0;
  return true;
}

size_t kernel_maps(struct kernel_map *maps, size_t room) {
  static char text[SMAPS_ROOM];
  read_file("/proc/self/smaps", text, sizeof text);
  size_t count = 0;
  for (const char *line = text; line != NULL && *line != '\0';) {
    CHECK(count < room, "more than %zu mappings", room);
    if (parse_head(line, &maps[count])) {
      count++;
    } else if (strncmp(line, "Rss:", 4) == 0 && count > 0) {
      maps[count - 1].resident = strtoul(line + 4, NULL, DECIMAL) * 1024;
    }
    line = strchr(line, '\n');
    line = line != NULL ? line + 1 : NULL;
  }
  return count;
}

const struct kernel_map *kernel_map_of(const struct kernel_map *maps, size_t count, const void *address) {
  size_t low = 0;
  size_t high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (maps[middle].end <= (uintptr_t)address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && maps[low].start <= (uintptr_t)address ? &maps[low] : NULL;
}

size_t kernel_resident(void) {
  char text[4096];
  read_file("/proc/self/smaps_rollup", text, sizeof text);
  const char *found = strstr(text, "\nRss:");
  CHECK(found != NULL, "no Rss in /proc/self/smaps_rollup");
  return strtoul(found + 5, NULL, DECIMAL) * 1024;
}

void kernel_residency(const char *start, size_t os_pages, unsigned char *is_resident) {
  if (mincore((void *)(uintptr_t)start, os_pages * KERNEL_PAGE, is_resident) == 0) {
    for (size_t i = 0; i < os_pages; i++) {
      is_resident[i] &= 1;
    }
    return;
  }
  CHECK(errno == ENOMEM, "mincore: %s", strerror(errno));
  memset(is_resident, 0, os_pages);
  if (os_pages > 1) {
    /* Some of it is not mapped. */
    kernel_residency(start, os_pages / 2, is_resident);
    kernel_residency(start + os_pages / 2 * KERNEL_PAGE, os_pages - os_pages / 2, is_resident + os_pages / 2);
  }
}

uint64_t kernel_faults(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)usage.ru_minflt;
}

uint64_t kernel_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
