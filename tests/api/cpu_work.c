/* SPDX-License-Identifier: MIT */
/*
 * Threads that use known amounts of processor time in known functions and under known labels; for cpu.py.
 *
 *   cpu_work PROFILE MILLISECONDS    of processor time for each of two threads
 *
 * Writes a CPU profile and prints for each function and each label: NAME nanoseconds; and "all" with the
 * processor time of both threads. Slices of a millisecond on average are dealt out at random, so that every
 * sample falls on a function with its share as probability, independently of the others.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "halloc.h"
#include "tests/test.h"

#define THREADS 2
#define FUNCTIONS 4
#define SLICE_NANOS 1e6
#define NOINLINE __attribute__((noinline))

static int64_t used[THREADS][FUNCTIONS + 1]; /* the last: everything */
static int64_t wanted;
static hp_labels_t labels[2];
static hp_labels_t (*set_labels)(hp_labels_t);

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Each works by itself and calls nothing while it does: it is the leaf. */
#define WORK                                                                                                 \
  for (uint64_t i = 0; i < turns; i++) {                                                                     \
    x = x * 6364136223846793005u + 1442695040888963407u;                                                     \
    __asm__ volatile("" : "+r"(x));                                                                          \
  }                                                                                                          \
  return x

typedef uint64_t burn_fn(uint64_t turns, uint64_t x);
burn_fn burns_one, burns_two, burns_four, burns_in_malloc;

NOINLINE uint64_t burns_one(uint64_t turns, uint64_t x) {
  WORK;
}
NOINLINE uint64_t burns_two(uint64_t turns, uint64_t x) {
  WORK + 1;
}
NOINLINE uint64_t burns_four(uint64_t turns, uint64_t x) {
  WORK + 2;
}
/* malloc is called in between and gets its share. */
NOINLINE uint64_t burns_in_malloc(uint64_t turns, uint64_t x) {
  for (uint64_t i = 0; i < turns / 16; i++) {
    void *block = malloc(x % 500);
    __asm__ volatile("" : : "r"(block) : "memory");
    free(block);
    x = x * 6364136223846793005u + 1442695040888963407u;
  }
  return x;
}

static burn_fn *const functions[FUNCTIONS] = {burns_one, burns_two, burns_four, burns_in_malloc};
static const char *const names[FUNCTIONS + 1] = {"burns_one", "burns_two", "burns_four", "burns_in_malloc",
                                                 "all"};
static const int weights[] = {0, 1, 1, 2, 2, 2, 2, 3};

static void *work(void *arg) {
  int thread = (int)(intptr_t)arg;
  uint64_t random = 20261121 + (uint64_t)thread;
  double nanos_per_turn = 1.0;
  uint64_t x = 1;
  int64_t start = now();
  set_labels(labels[thread]);
  while (used[thread][FUNCTIONS] < wanted) {
    int function = weights[test_random(&random) % 8];
    double slice = -SLICE_NANOS * log((double)(test_random(&random) >> 11) / 0x1p53 + 0x1p-54);
    uint64_t turns = (uint64_t)(slice / nanos_per_turn) + 1;
    int64_t before = now();
    x = functions[function](turns, x);
    int64_t after = now();
    if (function == 0 && turns > 1000) {
      nanos_per_turn = (double)(after - before) / (double)turns;
    }
    used[thread][function] += after - before;
    used[thread][FUNCTIONS] = after - start;
  }
  return (void *)(uintptr_t)x;
}

static void *find(const char *name) {
  void *function = dlsym(RTLD_DEFAULT, name);
  if (function == NULL) {
    printf("no %s\n", name);
    exit(1);
  }
  return function;
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  int (*start)(int), (*stop)(void);
  hp_labels_t (*make)(const char *, const char *, ...);
  *(void **)&start = find("hp_start_cpu_profile");
  *(void **)&stop = find("hp_stop_cpu_profile");
  *(void **)&set_labels = find("hp_set_labels");
  *(void **)&make = find("hp_labels");
  int fd = argc == 3 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
  wanted = argc == 3 ? atoll(argv[2]) * 1000000 : 0;
  labels[0] = make("worker", "first", "service", "test", NULL);
  labels[1] = make("worker", "second", "service", "test", NULL);
  if (start(fd) != 0) {
    return 1;
  }
  for (intptr_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, work, (void *)i);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  if (stop() != 0 || close(fd) != 0) {
    return 2;
  }
  for (int i = 0; i <= FUNCTIONS; i++) {
    printf("%s %lld\n", names[i], (long long)(used[0][i] + used[1][i]));
  }
  printf("worker=first %lld\nworker=second %lld\n", (long long)used[0][FUNCTIONS],
         (long long)used[1][FUNCTIONS]);
  return 0;
}
