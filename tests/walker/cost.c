/* SPDX-License-Identifier: MIT */
/*
 * What a walk costs, per mode: ns per frame when all rules are known, ns to find a rule. For reading, not
 * asserted: machines differ. What it would show is a walk that asks the kernel per frame, or a cache that
 * never hits.
 *
 *   cost [auto|dwarf|libgcc|fp...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/config.h"
#include "sampler/resolver.h"
#include "sampler/rule_cache.h"
#include "sampler/trail.h"
#include "sampler/unwind.h"

#define DEPTH 30
#define WALKS 5000
#define MAX 128

/* The walker leaves out the code of the section of this name when there is one, and the whole binary
 * otherwise. */
__attribute__((section("halloc_text"), used, noinline)) static void stand_in_for_halloc(void) {
  __asm__ volatile("");
}

static uintptr_t frames[MAX];
static uint32_t count;

static void walk(void) {
  struct ha_trail_walk path;
  count = ha_unwind_on_trail(frames, MAX, &path);
  ha_trail_end(&path, ha_stack_intern(frames, count));
}
static double warm_ns, cold_ns, misses_per_walk;

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

__attribute__((noinline)) static void measure(void) {
  ha_trail_open();
  walk();
  double start = now_ns();
  for (int i = 0; i < WALKS; i++) {
    walk();
  }
  warm_ns = (now_ns() - start) / WALKS;
  uint64_t misses = ha_rule_misses();
  start = now_ns();
  for (int i = 0; i < WALKS / 10; i++) {
    ha_rules_forget();
    walk();
  }
  cold_ns = (now_ns() - start) / (WALKS / 10);
  misses_per_walk = (double)(ha_rule_misses() - misses) / (WALKS / 10);
}

/* Three functions in turn, so that neighbouring frames differ. */
__attribute__((noinline)) static int first(int n);
__attribute__((noinline)) static int second(int n) {
  int result = n == 0 ? (measure(), 0) : first(n - 1) + 1;
  __asm__ volatile("" : "+r"(result));
  return result;
}
__attribute__((noinline)) static int third(int n) {
  char bytes[100];
  __asm__ volatile("" : : "r"(bytes) : "memory");
  int result = n == 0 ? (measure(), 0) : second(n - 1) + 1;
  __asm__ volatile("" : "+r"(result) : "r"(bytes) : "memory");
  return result;
}
__attribute__((noinline)) static int first(int n) {
  int result = n == 0 ? (measure(), 0) : third(n - 1) + 1;
  __asm__ volatile("" : "+r"(result));
  return result;
}

static int run(const char *name) {
  static const char *const names[] = {"auto", "dwarf", "fp", "libgcc"};
  unsigned mode = 0;
  while (mode < 4 && strcmp(name, names[mode]) != 0) {
    mode++;
  }
  if (mode == 4) {
    return EXIT_FAILURE;
  }
  ha_config.unwind = (enum ha_unwind_mode)mode;
  if (mode == HA_UNWIND_DWARF) {
    ha_rules_resolve_with(ha_libunwind_resolve); /* linked here, not loaded */
  } else {
    ha_unwind_prepare();
  }
  stand_in_for_halloc();
  first(DEPTH);
  printf("%-6s %3u frames: %6.1f ns per frame, %7.0f ns per walk", name, count, warm_ns / count, warm_ns);
  if (misses_per_walk > 0) {
    printf("; %7.0f ns per rule found", (cold_ns - warm_ns) / misses_per_walk);
  }
  printf("\n");
  return count > DEPTH ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
  static char *all[] = {"", "auto", "dwarf", "libgcc", "fp"};
  char **modes = argc > 1 ? argv : all;
  int mode_count = argc > 1 ? argc : 5;
  for (int i = 1; i < mode_count; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      exit(run(modes[i]));
    }
    int status = -1;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
      printf("FAIL cost_%s: status %#x, or fewer frames than there are\n", modes[i], (unsigned)status);
      return EXIT_FAILURE;
    }
  }
  printf("ok cost\n");
  return EXIT_SUCCESS;
}
