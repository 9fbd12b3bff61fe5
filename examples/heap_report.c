/* SPDX-License-Identifier: MIT */
/*
 * A program that looks at its own heap: prints the exact statistics and writes a profile where the first argument says.
 *
 *   cc heap_report.c -o heap_report -lhalloc && ./heap_report now.pb.gz && halloc heap now.pb.gz
 */
#include <fcntl.h>
#include <halloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SESSION_SIZE 3000
#define SESSION_COUNT 20000

static void *sessions[SESSION_COUNT];

static void open_sessions(void) {
  for (int i = 0; i < SESSION_COUNT; i++) {
    sessions[i] = malloc(SESSION_SIZE);
  }
}

static void close_every_other_session(void) {
  for (int i = 0; i < SESSION_COUNT; i += 2) {
    free(sessions[i]);
  }
}

int main(int argc, char **argv) {
  open_sessions();
  close_every_other_session();
  struct hp_memstats stats = hp_memstats();
  printf("in use %" PRIu64 " bytes in %" PRIu64 " blocks, allocated %" PRIu64 " bytes so far\n", stats.HeapAlloc,
         stats.HeapObjects, stats.TotalAlloc);
  if (argc < 2) {
    return 0;
  }
  int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int error = fd >= 0 ? hp_write_heap_profile(fd) : -1;
  if (error != 0) {
    fprintf(stderr, "%s: no profile: %s\n", argv[1], fd < 0 ? "it cannot be created" : strerror(-error));
    return 1;
  }
  return close(fd) == 0 ? 0 : 1;
}
