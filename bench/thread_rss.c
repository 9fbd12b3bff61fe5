/* SPDX-License-Identifier: MIT */
/*
 * How much memory does an idle thread hold that has allocated a little?
 *
 * Many threads start and wait; then each makes 1000 small allocations of four sizes, keeps them and waits
 * again. The figure is the growth of the resident memory between the two waits, for each thread: the blocks
 * themselves, 60,000 bytes, and what the allocator keeps around them. Thread stacks are resident before.
 */
#include "bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "rss.h"

#define BLOCKS_PER_THREAD 1000
#define MOST_THREADS 1024
#define TOUCHED_STACK 4096

static const size_t sizes[] = {16, 32, 64, 128};

static pthread_barrier_t ready, go, done, leave;
static void *blocks[MOST_THREADS][BLOCKS_PER_THREAD];

static void touch_stack(void) {
  char stack[TOUCHED_STACK];
  memset(stack, 0, sizeof stack);
  bench_keep(stack);
}

static void *idle_thread(void *argument) {
  void **own = argument;
  touch_stack();
  pthread_barrier_wait(&ready);
  pthread_barrier_wait(&go);
  for (size_t i = 0; i < BLOCKS_PER_THREAD; i++) {
    size_t size = sizes[i % BENCH_COUNT(sizes)];
    own[i] = bench_fill(malloc(size), size);
  }
  pthread_barrier_wait(&done);
  pthread_barrier_wait(&leave);
  for (size_t i = 0; i < BLOCKS_PER_THREAD; i++)
    bench_free(own[i]);
  return NULL;
}

static int64_t growth_of(uint64_t count, pthread_t *threads) {
  pthread_barrier_t *barriers[] = {&ready, &go, &done, &leave};
  for (size_t i = 0; i < BENCH_COUNT(barriers); i++)
    pthread_barrier_init(barriers[i], NULL, (unsigned)count + 1);
  for (uint64_t i = 0; i < count; i++) {
    if (pthread_create(&threads[i], NULL, idle_thread, blocks[i]) != 0)
      bench_die("cannot start thread %" PRIu64, i);
  }
  pthread_barrier_wait(&ready);
  int64_t before = bench_rss_bytes();
  pthread_barrier_wait(&go);
  pthread_barrier_wait(&done);
  int64_t after = bench_rss_bytes();
  pthread_barrier_wait(&leave);
  for (uint64_t i = 0; i < count; i++)
    pthread_join(threads[i], NULL);
  return after - before;
}

int main(int argc, char **argv) {
  static pthread_t threads[MOST_THREADS];
  uint64_t count = 256;
  const struct bench_option options[] = {
      {"threads", &count, 1, MOST_THREADS, "idle threads"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  /* The array of the blocks is ours, not the allocator's. */
  memset(blocks, 1, sizeof blocks);
  int64_t growth = growth_of(count, threads);
  printf("BenchmarkThreadRss/threads=%" PRIu64 " %" PRIu64 " %.0f RSS-bytes/thread\n", count, count,
         (double)growth / (double)count);
  return 0;
}
