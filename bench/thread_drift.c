/* SPDX-License-Identifier: MIT */
/*
 * Does a process grow with every thread that has come and gone?
 *
 * Threads run one after another; each makes 1000 small allocations of four sizes, frees them and ends. The
 * figure is the growth of the resident memory from thread 500, when everything has settled, to the last.
 */
#include "bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "rss.h"

#define BLOCKS_PER_THREAD 1000
#define SETTLED 500

static const size_t sizes[] = {16, 32, 64, 128};

static void *visit(void *argument) {
  static void *blocks[BLOCKS_PER_THREAD];
  for (size_t i = 0; i < BLOCKS_PER_THREAD; i++) {
    size_t size = sizes[i % BENCH_COUNT(sizes)];
    blocks[i] = bench_fill(malloc(size), size);
  }
  for (size_t i = 0; i < BLOCKS_PER_THREAD; i++)
    bench_free(blocks[i]);
  return argument;
}

static void run_threads(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, visit, NULL) != 0)
      bench_die("cannot start a thread");
    pthread_join(thread, NULL);
  }
}

int main(int argc, char **argv) {
  uint64_t count = 10 * 1000;
  const struct bench_option options[] = {
      {"threads", &count, SETTLED + 1, UINT32_MAX, "threads, one after another"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  run_threads(SETTLED);
  int64_t before = bench_rss_bytes();
  run_threads(count - SETTLED);
  printf("BenchmarkThreadDrift/threads=%" PRIu64 " %" PRIu64 " %" PRId64 " RSS-bytes\n", count, count,
         bench_rss_bytes() - before);
  return 0;
}
