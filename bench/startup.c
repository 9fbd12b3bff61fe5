/* SPDX-License-Identifier: MIT */
/*
 * What does an allocator add to the start of a program?
 *
 *   startup RUNS [NAME=VALUE]...
 *
 * Spawns /bin/true RUNS times with these settings and nothing else in its environment, one after another, and
 * prints the shortest and the median time from the spawn to the end of the process. This process itself is
 * not under the allocator.
 */
#include "bench.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define PROGRAM "/bin/true"
#define MOST_RUNS 100000
#define DECIMAL 10

static uint64_t times_ns[MOST_RUNS];

static uint64_t run_once(char **settings) {
  char program[] = PROGRAM;
  char *arguments[] = {program, NULL};
  pid_t child;
  int status;
  uint64_t start_ns = bench_now_ns();
  int problem = posix_spawn(&child, PROGRAM, NULL, NULL, arguments, settings);
  if (problem != 0)
    bench_die("cannot start %s: %s", PROGRAM, strerror(problem));
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR)
      bench_die("cannot wait for %s: %s", PROGRAM, strerror(errno));
  }
  uint64_t elapsed_ns = bench_now_ns() - start_ns;
  if (status != 0)
    bench_die("%s ended with status 0x%x", PROGRAM, (unsigned)status);
  return elapsed_ns;
}

static int compare(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left;
  uint64_t b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

int main(int argc, char **argv) {
  unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, DECIMAL) : 0;
  if (runs < 1 || runs > MOST_RUNS) {
    fprintf(stderr, "usage: startup RUNS [NAME=VALUE]..., 1 to %d runs\n", MOST_RUNS);
    return 2;
  }
  for (unsigned long i = 0; i < runs; i++)
    times_ns[i] = run_once(argv + 2);
  qsort(times_ns, runs, sizeof times_ns[0], compare);
  printf("BenchmarkStartup/true %lu %llu ns-min %llu ns-median\n", runs, (unsigned long long)times_ns[0],
         (unsigned long long)times_ns[runs / 2]);
  return 0;
}
