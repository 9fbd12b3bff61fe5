/* SPDX-License-Identifier: MIT */
/*
 * A process whose resident memory is known by construction, for rss.py: it makes the parts, writes the profile "rss" to
 * the file it is given, and prints what should be in it, as `name bytes`.
 *
 * usage: rss PROFILE
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "halloc.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define SMALL_BLOCKS 24576
#define LARGE_BLOCKS 8
#define FREED_BLOCKS 20
#define THREADS 4
#define STACK_BYTES (1024 * KIB)

static char *small[SMALL_BLOCKS], *large[3 * LARGE_BLOCKS];
static pthread_barrier_t deep, done;

__attribute__((noinline)) static void make_small(void) {
  for (int i = 0; i < SMALL_BLOCKS; i++) {
    small[i] = memset(malloc(KIB), 1, KIB);
  }
}

__attribute__((noinline)) static void make_touched(void) {
  for (int i = 0; i < LARGE_BLOCKS; i++) {
    large[i] = memset(malloc(2 * MIB), 1, 2 * MIB);
  }
}

/* Of the same class as the touched ones: only their own OS pages tell them apart. */
__attribute__((noinline)) static void make_untouched(void) {
  for (int i = LARGE_BLOCKS; i < 2 * LARGE_BLOCKS; i++) {
    large[i] = malloc(2 * MIB);
  }
}

__attribute__((noinline)) static void make_huge(void) {
  large[2 * LARGE_BLOCKS] = malloc(64 * MIB);
  memset(large[2 * LARGE_BLOCKS], 1, 8 * MIB);
}

__attribute__((noinline)) static void make_freed(void) {
  char *blocks[FREED_BLOCKS];
  for (int i = 0; i < FREED_BLOCKS; i++) {
    blocks[i] = memset(malloc(MIB), 1, MIB);
  }
  for (int i = 0; i < FREED_BLOCKS; i++) {
    free(blocks[i]);
  }
}

/* Right behind a file's, where a program's zeroed data would be. */
static void make_mapping(void) {
  const int protection = PROT_READ | PROT_WRITE;
  char *file = mmap(NULL, 12 * MIB + 4 * KIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int fd = open("/proc/self/exe", O_RDONLY);
  mmap(file, 4 * KIB, protection, MAP_PRIVATE | MAP_FIXED, fd, 0);
  close(fd);
  char *mapping = mmap(file + 4 * KIB, 12 * MIB, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  memset(mapping, 1, 12 * MIB);
}

static void *use_stack(void *arg) {
  char frame[STACK_BYTES];
  char *volatile block = malloc(100);
  memset(frame, 1, sizeof frame);
  __asm__ volatile("" : : "r"(frame) : "memory");
  pthread_barrier_wait(&deep);
  pthread_barrier_wait(&done);
  free(block);
  return arg;
}

static long resident(void) {
  char line[128] = "";
  long pages = 0;
  int fd = open("/proc/self/statm", O_RDONLY);
  if (read(fd, line, sizeof line - 1) > 0) {
    sscanf(line, "%*d %ld", &pages);
  }
  close(fd);
  return pages * (long)sysconf(_SC_PAGESIZE);
}

static int write_rss(const char *path) {
  int (*write_profile)(const char *, int, int);
  *(void **)&write_profile = dlsym(RTLD_DEFAULT, "hp_write_profile");
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  int error = write_profile("rss", fd, 0);
  close(fd);
  return error;
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&deep, NULL, THREADS + 1);
  pthread_barrier_init(&done, NULL, THREADS + 1);
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, use_stack, NULL);
  }
  pthread_barrier_wait(&deep);
  make_untouched(); /* while what is there was never written to */
  make_huge();
  make_small();
  make_touched();
  make_mapping();
  /* The first call loads a library. */
  int error = argc == 2 ? write_rss(argv[1]) : -1;
  make_freed();
  long before = resident();
  error = error == 0 ? write_rss(argv[1]) : error;
  long after = resident();
  struct hp_memstats stats;
  int (*read_stats)(struct hp_memstats *, size_t);
  *(void **)&read_stats = dlsym(RTLD_DEFAULT, "hp_memstats_read");
  read_stats(&stats, sizeof stats);
  printf("before %ld\nafter %ld\nsmall %zu\ntouched %zu\nhuge %zu\nfreed %zu\nstacks %zu\nmapping "
         "%zu\nuntouched %zu\n",
         before, after, SMALL_BLOCKS * KIB, LARGE_BLOCKS * 2 * MIB, 8 * MIB, FREED_BLOCKS * MIB,
         THREADS * STACK_BYTES, 12 * MIB, LARGE_BLOCKS * 2 * MIB + 56 * MIB);
  printf("tables %lu\n", (unsigned long)(stats.Sys - stats.HeapSys - stats.OtherSys));
  pthread_barrier_wait(&done);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  return error != 0;
}
