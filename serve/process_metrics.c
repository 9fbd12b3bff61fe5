/* SPDX-License-Identifier: MIT */
/*
 * process_*, with the names and meanings of Prometheus' client libraries.
 *
 * The start time is fixed at the first call: computed anew it would move with the wall clock.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/process.h"
#include "serve/metrics.h"

#define STAT_TEXT_MAX 1024
#define DIRECTORY_PART 8192
#define START_TIME_FIELD 22 /* of /proc/self/stat, counted from 1 as in proc(5) */
#define STATE_FIELD 3       /* the first behind the name */

static uint64_t start_nanos; /* atomic: Unix time; 0: not known yet */

/* Unix time of the start of the process. 0 if it cannot be read. */
static uint64_t read_start(void) {
  char text[STAT_TEXT_MAX];
  size_t length = ha_process_read("/proc/self/stat", 0, text, sizeof text - 1);
  text[length] = '\0';
  const char *at = strrchr(text, ')'); /* the end of the name, which may hold blanks */
  for (int field = STATE_FIELD - 1; at != NULL && field < START_TIME_FIELD; field++) {
    at = strchr(at + 1, ' ');
  }
  long ticks_per_second = sysconf(_SC_CLK_TCK);
  if (at == NULL || ticks_per_second <= 0) {
    return 0;
  }
  uint64_t ticks = 0;
  for (at++; *at >= '0' && *at <= '9'; at++) {
    ticks = ticks * 10 + (uint64_t)(*at - '0');
  }
  uint64_t since_boot = ticks * (HA_SECOND / (uint64_t)ticks_per_second);
  uint64_t age = ha_clock_read(CLOCK_BOOTTIME) - since_boot;
  return ha_clock_read(CLOCK_REALTIME) - age;
}

static uint64_t start_time(void) {
  if (ha_load_relaxed(&start_nanos) == 0) {
    uint64_t none = 0;
    ha_cas_strong_acq_rel(&start_nanos, &none, read_start());
  }
  return ha_load_relaxed(&start_nanos);
}

/* As the kernel writes it for getdents64. */
struct directory_entry {
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  unsigned char type;
  char name[];
};

static size_t count_entries(const char *part, size_t size) {
  size_t count = 0;
  for (size_t at = 0; at < size;) {
    const struct directory_entry *entry = (const void *)(part + at);
    count += entry->name[0] != '.';
    at += entry->size;
  }
  return count;
}

/* Without the one that it takes to look; 0 if they cannot be read. */
static size_t count_descriptors(void) {
  _Alignas(struct directory_entry) char part[DIRECTORY_PART];
  long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return 0;
  }
  size_t count = 0;
  long size;
  while ((size = syscall(SYS_getdents64, fd, part, sizeof part)) > 0) {
    count += count_entries(part, (size_t)size);
  }
  syscall(SYS_close, fd);
  return count - (count > 0);
}

static void put_limit(struct ha_body *body, const struct ha_metric *metric, __rlimit_resource_t resource) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) == 0) {
    ha_metric_number(body, metric, limit.rlim_cur);
  }
}

/* The first number of /proc/self/statm is the size in OS pages. */
static uint64_t address_space(void) {
  char text[STAT_TEXT_MAX];
  size_t length = ha_process_read("/proc/self/statm", 0, text, sizeof text - 1);
  text[length] = '\0';
  return strtoul(text, NULL, 10) * HA_OS_PAGE;
}

void ha_metrics_of_process(struct ha_body *body) {
  static const struct ha_metric cpu = {"process_cpu_seconds_total", "counter",
                                       "Processor time of the process, user and system, in seconds."};
  static const struct ha_metric start = {"process_start_time_seconds", "gauge",
                                         "Start of the process, in seconds since 1970."};
  static const struct ha_metric resident = {"process_resident_memory_bytes", "gauge", "Resident memory."};
  static const struct ha_metric space = {"process_virtual_memory_bytes", "gauge", "Address space."};
  static const struct ha_metric space_max = {"process_virtual_memory_max_bytes", "gauge",
                                             "Limit on the address space."};
  static const struct ha_metric fds = {"process_open_fds", "gauge", "Open file descriptors."};
  static const struct ha_metric fds_max = {"process_max_fds", "gauge", "Limit on open file descriptors."};
  ha_metric_seconds(body, &cpu, ha_clock_read(CLOCK_PROCESS_CPUTIME_ID));
  if (start_time() != 0) {
    ha_metric_seconds(body, &start, start_time());
  }
  uint64_t rss = ha_process_rss();
  if (rss != 0) {
    ha_metric_number(body, &resident, rss);
    ha_metric_number(body, &space, address_space());
  }
  put_limit(body, &space_max, RLIMIT_AS);
  size_t open_fds = count_descriptors();
  if (open_fds != 0) {
    ha_metric_number(body, &fds, open_fds);
  }
  put_limit(body, &fds_max, RLIMIT_NOFILE);
}
