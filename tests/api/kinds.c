/* SPDX-License-Identifier: MIT */
/*
 * A program of known sites that writes every kind of profile, for kinds.py.
 *
 * kinds DIRECTORY exact|fragmented
 *
 * Prints lines of what each profile must say: PROFILE SITE OBJECTS BYTES (bytes as block sizes), and
 * "seconds SITE LEAST MOST" for the time from the allocations of a site to the profiles.
 */
#pragma weak hp_profile_mark
#pragma weak hp_write_profile
#include "halloc.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 20000

static const char *directory;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void require(int is_so, const char *what) {
  if (!is_so) {
    fprintf(stderr, "kinds: %s\n", what);
    exit(1);
  }
}

/* A function for each site, so that its name is the innermost; different, so that the compiler does not make
 * them one. */
#define SITE(name)                                                                                           \
  static __attribute__((noinline)) void *name(size_t size) {                                                 \
    void *block = malloc(size);                                                                              \
    __asm__ volatile("# " #name : "+r"(block));                                                              \
    return block;                                                                                            \
  }

SITE(old_leak)
SITE(new_leak)
SITE(both)
SITE(burst)
SITE(short_lived)
SITE(large)
SITE(of_reader)
SITE(scattered)

static void save(const char *kind, const char *file, int debug) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", directory, file);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  require(fd >= 0 && hp_write_profile(kind, fd, debug) == 0, kind);
  close(fd);
}

static void save_all(void) {
  static const char *const kinds[] = {"heap",      "allocs",        "peak",      "since_mark",
                                      "lifetimes", "fragmentation", "delta_heap"};
  char file[64];
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    snprintf(file, sizeof file, "%s.txt", kinds[i]);
    save(kinds[i], file, 1); /* first: the text form of a delta must not take anything away */
    snprintf(file, sizeof file, "%s.pb.gz", kinds[i]);
    save(kinds[i], file, 0);
  }
  save("delta_heap", "delta_heap.after.pb.gz", 0);
}

static void *read_in_thread(void *blocks) {
  pthread_setname_np(pthread_self(), "a reader");
  for (int i = 0; i < 300; i++)
    ((void **)blocks)[i] = of_reader(777);
  return NULL;
}

static void expect(const char *profile, const char *site, int objects, size_t size) {
  printf("%s %s %d %zu\n", profile, site, objects, (size_t)objects * size);
}

static void make_exact(void) {
  static void *blocks[SLOTS], *read[300];
  double start = now();
  for (int i = 0; i < 1000; i++)
    blocks[i] = old_leak(100);
  for (int i = 1000; i < 1500; i++)
    blocks[i] = both(3000);
  double old_end = now();
  pthread_t reader;
  require(pthread_create(&reader, NULL, read_in_thread, read) == 0 && pthread_join(reader, NULL) == 0,
          "no thread");
  for (int i = 0; i < 10; i++)
    blocks[1500 + i] = large(300000);
  save("delta_heap", "delta_heap.before.pb.gz", 0);
  require(hp_profile_mark() == 1, "the first mark is not 1");
  const struct timespec more_than_a_second = {1, 100000000};
  nanosleep(&more_than_a_second, NULL);
  double new_start = now();
  for (int i = 2000; i < 2700; i++)
    blocks[i] = new_leak(40);
  for (int i = 2700; i < 2900; i++)
    blocks[i] = both(2900);
  for (int i = 3000; i < 13000; i++) /* the peak */
    blocks[i] = burst(500);
  for (int i = 3000; i < 13000; i++)
    free(blocks[i]);
  for (int i = 0; i < 5000; i++)
    free(short_lived(64));
  for (int i = 0; i < 5; i++)
    free(blocks[1500 + i]);
  for (int i = 900; i < 1000; i++)
    free(blocks[i]);
  save_all();
  double end = now();
  printf("seconds old_leak %.3f %.3f\nseconds new_leak %.3f %.3f\n", new_start - old_end, end - start, 0.0,
         end - new_start);
  expect("heap", "old_leak", 900, 112);
  expect("heap", "new_leak", 700, 48);
  expect("heap", "both", 700, 3072);
  expect("heap", "burst", 0, 512);
  expect("heap", "large", 5, 303104);
  expect("heap", "of_reader", 300, 832);
  expect("allocs", "old_leak", 1000, 112);
  expect("allocs", "both", 700, 3072);
  expect("allocs", "burst", 10000, 512);
  expect("allocs", "short_lived", 5000, 64);
  expect("allocs", "large", 10, 303104);
  expect("since_mark", "old_leak", 0, 112);
  expect("since_mark", "new_leak", 700, 48);
  expect("since_mark", "both", 200, 3072);
  expect("since_mark", "burst", 0, 512);
  expect("since_mark", "large", 0, 303104);
  expect("peak", "old_leak", 1000, 112);
  expect("peak", "new_leak", 700, 48);
  expect("peak", "burst", 10000, 512);
  expect("peak", "short_lived", 0, 64);
  expect("peak", "large", 10, 303104);
  expect("lifetimes", "old_leak", 100, 112);
  expect("lifetimes", "new_leak", 0, 48);
  expect("lifetimes", "burst", 10000, 512);
  expect("lifetimes", "short_lived", 5000, 64);
  expect("lifetimes", "large", 5, 303104);
  expect("delta_heap.before", "old_leak", 1000, 112);
  expect("delta_heap.before", "both", 500, 3072);
  expect("delta_heap.before", "large", 10, 303104);
  expect("delta_heap", "old_leak", 0, 112);
  expect("delta_heap", "new_leak", 700, 48);
  expect("delta_heap", "both", 200, 3072);
  expect("delta_heap", "burst", 10000, 512);
  expect("delta_heap.after", "burst", 0, 512);
}

/* One block in 16 stays, so that all pages are held. */
static void make_fragmented(void) {
  enum { BLOCKS = 200000, KEPT_OF = 16, SIZE = 208 };
  void **blocks = calloc(BLOCKS, sizeof *blocks);
  for (int i = 0; i < BLOCKS; i++)
    blocks[i] = scattered(SIZE);
  for (int i = 0; i < BLOCKS; i++) {
    if (i % KEPT_OF != 0)
      free(blocks[i]);
  }
  save_all();
  expect("fragmentation", "scattered", BLOCKS - BLOCKS / KEPT_OF, SIZE);
}

int main(int argc, char **argv) {
  require(argc == 3, "usage: kinds DIRECTORY exact|fragmented");
  directory = argv[1];
  if (strcmp(argv[2], "exact") == 0)
    make_exact();
  else
    make_fragmented();
  return 0;
}
