/* SPDX-License-Identifier: MIT */
/*
 * What does one malloc and the free of the same block cost when nothing else is in the way?
 *
 * A tight loop over one size. With --burst k, k blocks are obtained before the first of them is freed, so a
 * free-list cache one block deep no longer answers. One operation is one malloc and one free.
 */
#include "bench.h"

#include <inttypes.h>

#define MOST_BURST 4096

static void *blocks[MOST_BURST];

static void run_burst(size_t size, uint64_t burst) {
  for (uint64_t i = 0; i < burst; i++)
    blocks[i] = bench_fill(malloc(size), size);
  for (uint64_t i = 0; i < burst; i++)
    bench_free(blocks[i]);
}

static void run_single(size_t size, uint64_t pairs) {
  for (uint64_t i = 0; i < pairs; i++)
    bench_free(bench_fill(malloc(size), size));
}

int main(int argc, char **argv) {
  uint64_t pairs = 30 * 1000 * 1000;
  uint64_t size = BENCH_LEAST_SIZE;
  uint64_t burst = 1;
  const struct bench_option options[] = {
      {"iterations", &pairs, 1, UINT32_MAX, "pairs of malloc and free"},
      {"size", &size, BENCH_LEAST_SIZE, BENCH_MIB, "bytes in a block"},
      {"burst", &burst, 1, MOST_BURST, "blocks obtained before the first is freed"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  uint64_t bursts = (pairs + burst - 1) / burst;
  uint64_t start_ns = bench_now_ns();
  if (burst == 1) {
    run_single(size, pairs);
  } else {
    for (uint64_t i = 0; i < bursts; i++)
      run_burst(size, burst);
  }
  uint64_t elapsed_ns = bench_now_ns() - start_ns;
  bench_result(bursts * burst, elapsed_ns, "Pair/size=%" PRIu64 "/burst=%" PRIu64, size, burst);
  return 0;
}
