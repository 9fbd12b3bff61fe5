/* SPDX-License-Identifier: MIT */
/*
 * A minute of a server that leaks, as fast as it goes; for leak.py.
 *
 *   leak SEED FIRST SECOND    writes two heap profiles, a minute's worth of allocations apart
 *
 * Eight sites churn: 50 MB a second in blocks of 32 bytes to 8 KiB, of which some 50 MB live at any time. One
 * site leaks blocks of 1 KiB, 0.5 MB a second. Prints what really leaked and was allocated between the
 * profiles.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "halloc.h"
#include "tests/sampling/seeds.h"
#include "tests/test.h"

#define CHURN_PER_MINUTE 3000000000u
#define LEAK_PER_MINUTE 30000000u
#define LEAK_SIZE 1024
#define WARM_UP 6 /* of a minute, one part in so many */
#define SLOTS 32768
#define SMALLEST_BITS 5
#define DOUBLINGS 8

struct server {
  uint64_t seed, random;
  uint64_t churned, leaked; /* bytes */
  const char *profiles[2];
};

static void *slots[SLOTS];
static void *volatile leaked; /* the last block; each one points to that before it */

#define KEEP_FRAME() __asm__ volatile("" : : : "memory")

#define CHURN_SITE(number)                                                                                   \
  static __attribute__((noinline)) void *churn_##number(size_t size) {                                       \
    void *block = malloc(size);                                                                              \
    __asm__ volatile("" : : "i"(number), "r"(block) : "memory");                                             \
    return block;                                                                                            \
  }
CHURN_SITE(0)
CHURN_SITE(1)
CHURN_SITE(2)
CHURN_SITE(3)
CHURN_SITE(4)
CHURN_SITE(5)
CHURN_SITE(6)
CHURN_SITE(7)
static void *(*const churn_sites[])(size_t) = {churn_0, churn_1, churn_2, churn_3,
                                               churn_4, churn_5, churn_6, churn_7};

static __attribute__((noinline)) void *leak_site(void) {
  void **block = malloc(LEAK_SIZE);
  KEEP_FRAME();
  *block = leaked;
  return block;
}

static void churn_once(struct server *server) {
  uint64_t random = test_random(&server->random);
  size_t low = (size_t)1 << (SMALLEST_BITS + random % DOUBLINGS);
  size_t size = low + (random >> 8) % low;
  void **slot = &slots[(random >> 24) % SLOTS];
  free(*slot);
  *slot = churn_sites[(random >> 48) % 8](size);
  server->churned += size;
}

static void serve(struct server *server, unsigned part) {
  server->churned = server->leaked = 0;
  while (server->churned < CHURN_PER_MINUTE / part) {
    churn_once(server);
    while (server->leaked * (CHURN_PER_MINUTE / LEAK_PER_MINUTE) < server->churned) {
      leaked = leak_site();
      server->leaked += LEAK_SIZE;
    }
  }
}

static void write_profile(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || hp_write_heap_profile(fd) != 0) {
    fprintf(stderr, "leak: no profile %s\n", path);
    exit(1);
  }
  close(fd);
}

/* In a thread, whose heap has a seed of the test's. */
static void *run(void *arg) {
  struct server *server = arg;
  serve(server, WARM_UP);
  write_profile(server->profiles[0]);
  serve(server, 1);
  write_profile(server->profiles[1]);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: leak SEED FIRST SECOND\n");
    return 2;
  }
  uint64_t seed = strtoul(argv[1], NULL, 10);
  struct server server = {.seed = seed, .random = seed, .profiles = {argv[2], argv[3]}};
  ha_config.background = HA_BACKGROUND_OFF; /* that thread would take a seed, at a time of its own */
  seeds_set(seed);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, &server) != 0) {
    return 1;
  }
  pthread_join(thread, NULL);
  printf("%lu %lu\n", (unsigned long)server.leaked, (unsigned long)server.churned);
  return 0;
}
