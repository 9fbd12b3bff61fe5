/* SPDX-License-Identifier: MIT */
/*
 * A program that never has more than 200 MiB in use, and under an allocator that gives nothing back needs
 * more than 600: phases of one size each, of whose blocks one in twenty, drawn at random, outlives its phase.
 * What lies between those is of no use to the next size. Given back by OS pages it needs less than 240 MiB at
 * any time.
 *
 *   churn          every phase in the main thread
 *   churn threads  each phase in a thread of its own, which then does nothing
 *
 * Prints a line per phase, and at the end the limit that is in force, the peak of what was in use and of what
 * was resident. Ends with status 1 if a block that was in use has changed.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define PEAK (200 * MIB)
#define KEPT_OF 20
#define PHASES 5
#define MOST_BLOCKS (PEAK / 1024)
#define SEED 20261124

static const size_t sizes[PHASES] = {2048, 4096, 3072, 5120, 7168};

struct block {
  uint64_t *words;
  size_t size;
};

static struct block blocks[MOST_BLOCKS];
static size_t block_count, live, peak;
static uint64_t state = SEED;
static pthread_barrier_t step, forever;

static uint64_t next_random(void) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void stop(const char *why) {
  printf("FAIL %s\n", why);
  exit(1);
}

static long peak_rss_mib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

static void check(const struct block *block) {
  for (size_t i = 0; i < block->size / sizeof *block->words; i++) {
    if (block->words[i] != ((uintptr_t)block->words ^ i)) {
      stop("a block that is in use has changed");
    }
  }
}

static void add_block(size_t size) {
  struct block *block = &blocks[block_count++];
  *block = (struct block){malloc(size), size};
  if (block->words == NULL) {
    stop("malloc gave NULL");
  }
  for (size_t i = 0; i < size / sizeof *block->words; i++) {
    block->words[i] = (uintptr_t)block->words ^ i;
  }
  live += size;
  peak = live > peak ? live : peak;
}

static void run_phase(size_t size) {
  size_t first = block_count;
  while (live + size <= PEAK) {
    add_block(size);
  }
  size_t kept = first;
  for (size_t i = first; i < block_count; i++) {
    if (next_random() % KEPT_OF == 0) {
      blocks[kept++] = blocks[i];
    } else {
      check(&blocks[i]);
      live -= blocks[i].size;
      free(blocks[i].words);
    }
  }
  block_count = kept;
  printf("phase of %zu bytes: %zu MiB stay in use, peak RSS %ld MiB\n", size, live / MIB, peak_rss_mib());
  fflush(stdout);
}

static void *run_and_stay(void *size) {
  run_phase(*(const size_t *)size);
  pthread_barrier_wait(&step);
  pthread_barrier_wait(&forever); /* the process ends first */
  return NULL;
}

static void print_result(void) {
  int64_t (*limit)(int64_t);
  *(void **)&limit = dlsym(RTLD_DEFAULT, "hp_set_memory_limit");
  printf("limit %lld peak-live-MiB %zu peak-RSS-MiB %ld\n", limit != NULL ? (long long)limit(-1) : -1LL,
         peak / MIB, peak_rss_mib());
}

int main(int argc, char **argv) {
  int in_threads = argc > 1 && strcmp(argv[1], "threads") == 0;
  pthread_barrier_init(&step, NULL, 2);
  pthread_barrier_init(&forever, NULL, PHASES + 1);
  for (int i = 0; i < PHASES; i++) {
    pthread_t thread;
    if (!in_threads) {
      run_phase(sizes[i]);
    } else if (pthread_create(&thread, NULL, run_and_stay, (void *)(uintptr_t)&sizes[i]) == 0) {
      pthread_barrier_wait(&step);
    } else {
      stop("no thread");
    }
  }
  for (size_t i = 0; i < block_count; i++) {
    check(&blocks[i]);
  }
  print_result();
  fflush(stdout);
  _Exit(0); /* the threads of earlier phases are still there */
}
