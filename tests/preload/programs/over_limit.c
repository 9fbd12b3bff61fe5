// SPDX-License-Identifier: MIT
// Allocates 169 MiB from two functions, one twice as much as the other at any time, but in six rows of the
// profile, each of them smaller than the other's one. Then waits for the end of standard input.
//
// `plain`: just that; `fork`: in a forked child; `late`: under a limit of 32 MiB that the program sets.
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 600
#define LESS ((size_t)96 * 1024)
#define LIMIT ((int64_t)32 * 1024 * 1024)

// They add up to twice the other, in six size classes.
static const size_t more[] = {20 * 1024, 24 * 1024, 28 * 1024, 32 * 1024, 40 * 1024, 48 * 1024};
#define MORE_COUNT (sizeof more / sizeof more[0])

static void *volatile kept[ROUNDS * (MORE_COUNT + 1)];
static size_t count;

__attribute__((noinline)) static void allocate_more(size_t size) {
  kept[count++] = malloc(size);
}

__attribute__((noinline)) static void allocate_less(size_t size) {
  kept[count++] = malloc(size);
}

static void allocate(void) {
  for (int i = 0; i < ROUNDS; i++) {
    allocate_less(LESS);
    for (size_t k = 0; k < MORE_COUNT; k++) {
      allocate_more(more[k]);
    }
  }
}

static int set_limit(void) {
  int64_t (*set)(int64_t) = (int64_t(*)(int64_t))dlsym(RTLD_DEFAULT, "hp_set_memory_limit");
  return set != NULL && set(LIMIT) >= 0;
}

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "plain";
  char byte;
  if (strcmp(how, "late") == 0 && !set_limit()) {
    return 1;
  }
  pid_t child = strcmp(how, "fork") == 0 ? fork() : 0;
  if (child != 0) {
    int status = 0;
    return child < 0 || waitpid(child, &status, 0) != child || status != 0;
  }
  allocate();
  return read(STDIN_FILENO, &byte, 1) != 0;
}
