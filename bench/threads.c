/* SPDX-License-Identifier: MIT */
/*
 * What does a short-lived thread pay for its heap, and what becomes of the blocks that outlive it?
 *
 * Threads come in groups. Each makes 1000 small allocations of a few sizes, frees all but every 16th, hands
 * the rest over and ends; the main thread frees what is left. One operation is the whole life of one thread.
 */
#include "bench.h"

#include <inttypes.h>
#include <pthread.h>

#define BLOCKS_PER_THREAD 1000
#define OUTLIVING_STRIDE 16
#define MOST_GROUP 64

struct visitor {
  pthread_t thread;
  void *blocks[BLOCKS_PER_THREAD];
};

static const size_t sizes[] = {16, 24, 48, 64, 128, 256, 512};

static void *visit(void *argument) {
  struct visitor *visitor = argument;
  for (size_t i = 0; i < BLOCKS_PER_THREAD; i++) {
    size_t size = sizes[i % BENCH_COUNT(sizes)];
    visitor->blocks[i] = bench_fill(malloc(size), size);
  }
  for (size_t i = 0; i < BLOCKS_PER_THREAD; i++) {
    if (i % OUTLIVING_STRIDE != 0)
      bench_free(visitor->blocks[i]);
  }
  return NULL;
}

static void run_group(struct visitor *visitors, uint64_t group) {
  for (uint64_t i = 0; i < group; i++) {
    if (pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]) != 0)
      bench_die("cannot start thread %" PRIu64, i);
  }
  for (uint64_t i = 0; i < group; i++) {
    pthread_join(visitors[i].thread, NULL);
    for (size_t j = 0; j < BLOCKS_PER_THREAD; j += OUTLIVING_STRIDE)
      bench_free(visitors[i].blocks[j]);
  }
}

int main(int argc, char **argv) {
  static struct visitor visitors[MOST_GROUP];
  uint64_t iterations = 8 * 1000;
  uint64_t group = 4;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "threads started"},
      {"group", &group, 1, MOST_GROUP, "threads alive at a time"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  uint64_t groups = (iterations + group - 1) / group;
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < groups; i++)
    run_group(visitors, group);
  bench_result(groups * group, bench_now_ns() - start_ns, "Threads/group=%" PRIu64, group);
  return 0;
}
