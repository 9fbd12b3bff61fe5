/* SPDX-License-Identifier: MIT */
/*
 * A program with a leak and a cache that shrinks, for the live page's difference. At rate 1, so that the
 * numbers are exact.
 *
 *   leak BEFORE AFTER   writes the heap profiles before and after
 *   leak                serves, prints the address, leaks at the first line of standard input, ends with it
 */
#include <fcntl.h>
#include <halloc.h>
#include <stdio.h>
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

static void leak(void) {
  halve_cache();
  hp_do(hp_labels("handler", "login"), leak_session);
}

static int serve(void) {
  if (hp_http_serve("127.0.0.1:0") != 0) {
    return 1;
  }
  printf("%s\n", hp_http_address());
  fflush(stdout);
  if (getchar() == EOF) {
    return 0;
  }
  leak();
  printf("leaked\n");
  fflush(stdout);
  while (getchar() != EOF) {
  }
  return 0;
}

int main(int argc, char **argv) {
  hp_set_mem_profile_rate(1);
  fill_cache();
  if (argc != 3) {
    return serve();
  }
  if (write_profile(argv[1]) != 0) {
    return 1;
  }
  leak();
  return write_profile(argv[2]) != 0;
}
