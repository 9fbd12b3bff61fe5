/* SPDX-License-Identifier: MIT */
/*
 * What do blocks cost that are too large for any cache: does the allocator give every one of them back to the
 * kernel?
 *
 * Blocks of 5 to 25 MiB, 20 of them live, each new one taking the place of the oldest. Only the first byte of
 * each OS page is written, as in a table that is sparsely filled, so page faults are what the time is made
 * of. One operation is one malloc, the touching of its OS pages and one free.
 */
#include "bench.h"

#define LIVE_BLOCKS 20
#define LEAST_SIZE (5 * BENCH_MIB)
#define MOST_SIZE (25 * BENCH_MIB)

static void *blocks[LIVE_BLOCKS];

static void replace_oldest(struct bench_random *random, uint64_t turn) {
  void **oldest = &blocks[turn % LIVE_BLOCKS];
  size_t size = LEAST_SIZE + bench_random_below(random, MOST_SIZE - LEAST_SIZE);
  bench_free(*oldest);
  *oldest = malloc(size);
  if (*oldest == NULL)
    bench_die("out of memory for %zu bytes", size);
  bench_fill_from(*oldest, 0, size, BENCH_OS_PAGE);
}

int main(int argc, char **argv) {
  uint64_t iterations = 120;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks allocated"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct bench_random random = bench_random_stream(0);
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < iterations; i++)
    replace_oldest(&random, i);
  for (uint64_t i = 0; i < LIVE_BLOCKS; i++)
    bench_free(blocks[i]);
  bench_result(iterations, bench_now_ns() - start_ns, "Large/live=%d", LIVE_BLOCKS);
  return 0;
}
