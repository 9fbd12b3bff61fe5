/* SPDX-License-Identifier: MIT */
/*
 * Eight threads allocate through cold code while the main thread forks; each child allocates through cold
 * code, frees what the parent allocated, and ends. A child that hangs is killed and counted.
 *
 *   forks COUNT COLD.so
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8
#define CHILD_SECONDS 10
#define CHILD_BLOCKS 64
#define SEED 20260101u

typedef void *cold_fn(size_t size);
static cold_fn **functions;
static size_t function_count;
static volatile int stop;
static void *inherited[CHILD_BLOCKS];

static uint64_t step(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

static void *allocate(void *arg) {
  uint64_t state = SEED + (uint64_t)(uintptr_t)arg;
  void *kept[32] = {NULL};
  while (!stop) {
    size_t i = step(&state) % 32;
    free(kept[i]);
    kept[i] = functions[step(&state) % function_count](16 + step(&state) % 2000);
  }
  for (int i = 0; i < 32; i++) {
    free(kept[i]);
  }
  return NULL;
}

static void in_child(uint64_t state) {
  alarm(CHILD_SECONDS); /* default action: the parent sees the signal */
  for (int i = 0; i < CHILD_BLOCKS; i++) {
    void *block = functions[step(&state) % function_count](1 + step(&state) % 4000);
    if (block == NULL) {
      _exit(3);
    }
    free(block);
    free(inherited[i]);
  }
  _exit(0);
}

int main(int argc, char **argv) {
  int count = atoi(argv[1]);
  void *library = dlopen(argv[2], RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  functions = (cold_fn **)dlsym(library, "cold_functions");
  function_count = *(size_t *)dlsym(library, "cold_count");
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, allocate, (void *)(i + 1));
  }
  int bad = 0;
  for (int i = 0; i < count; i++) {
    for (int k = 0; k < CHILD_BLOCKS; k++) {
      inherited[k] = malloc(3000);
    }
    pid_t pid = fork();
    if (pid == 0) {
      in_child(SEED * 31u + (unsigned)i);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
      fprintf(stderr, "fork %d: status %#x (14 is a hang)\n", i, (unsigned)status);
      bad++;
    }
    for (int k = 0; k < CHILD_BLOCKS; k++) {
      free(inherited[k]);
    }
  }
  stop = 1;
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  printf("%d forks, %zu cold functions, %d bad\n", count, function_count, bad);
  return bad != 0;
}
