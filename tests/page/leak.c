/* SPDX-License-Identifier: MIT */
/*
 * A program with a leak and a cache that shrinks, for the live page's difference: writes the heap profiles
 * before and after. At rate 1, so that the numbers are exact. usage: leak BEFORE AFTER
 */
#include <fcntl.h>
#include <halloc.h>
#include <stdlib.h>
#include <unistd.h>

enum { CACHE_ENTRIES = 5000, CACHE_ENTRY_BYTES = 2048, SESSIONS = 4000, SESSION_BYTES = 5120 };

static void *cache[CACHE_ENTRIES];
static void *sessions[SESSIONS];

__attribute__((noinline)) static void fill_cache(void) {
  for (int i = 0; i < CACHE_ENTRIES; i++) {
    cache[i] = malloc(CACHE_ENTRY_BYTES);
  }
}

__attribute__((noinline)) static void halve_cache(void) {
  for (int i = 0; i < CACHE_ENTRIES; i += 2) {
    free(cache[i]);
  }
}

__attribute__((noinline)) static void leak_session(void) {
  for (int i = 0; i < SESSIONS; i++) {
    sessions[i] = malloc(SESSION_BYTES);
  }
}

static int write_profile(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || hp_write_heap_profile(fd) != 0) {
    return -1;
  }
  return close(fd);
}

int main(int argc, char **argv) {
  hp_set_mem_profile_rate(1);
  if (argc != 3) {
    return 2;
  }
  fill_cache();
  if (write_profile(argv[1]) != 0) {
    return 1;
  }
  halve_cache();
  hp_do(hp_labels("handler", "login"), leak_session);
  return write_profile(argv[2]) != 0;
}
