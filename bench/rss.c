/* SPDX-License-Identifier: MIT */
#include "rss.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define TEXT_LENGTH 4096
#define DECIMAL 10

int64_t bench_rss_bytes(void) {
  const char label[] = "\nRss:";
  char text[TEXT_LENGTH];
  int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  if (file < 0)
    bench_die("cannot open /proc/self/smaps_rollup");
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  text[length > 0 ? length : 0] = '\0';
  const char *found = strstr(text, label);
  if (found == NULL)
    bench_die("no Rss in /proc/self/smaps_rollup");
  return strtoll(found + sizeof label - 1, NULL, DECIMAL) * (int64_t)BENCH_KIB;
}
