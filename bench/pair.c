/* SPDX-License-Identifier: MIT */
/*
 * What does one malloc and the free of the same block cost when nothing else is in the way?
 *
 * A tight loop over one size. With --burst k, k blocks are obtained before the first of them is freed, so a
 * free-list cache one block deep no longer answers. Blocks above 4 KiB are written in the first byte of each
 * OS page only, and there are fewer of them. One operation is one malloc and one free.
 */
#include "bench.h"

#include <inttypes.h>

#define LEAST_SIZE 1
#define MOST_BURST 4096

static void *blocks[MOST_BURST];

/* A block too small for the marks of bench_fill. */
static void *fill_tiny(void *block, size_t size) {
  if (block == NULL)
    bench_die("out of memory for %zu bytes", size);
  *(unsigned char *)block = bench_mark(size);
  bench_keep(block);
  return block;
}

static inline void *obtain(size_t size) {
  if (size < BENCH_LEAST_SIZE)
    return fill_tiny(malloc(size), size);
  if (size <= BENCH_OS_PAGE)
    return bench_fill(malloc(size), size);
  void *block = malloc(size);
  if (block == NULL)
    bench_die("out of memory for %zu bytes", size);
  bench_fill_from(block, 0, size, BENCH_OS_PAGE);
  return block;
}

static inline void release(void *block, size_t size) {
  if (size >= BENCH_LEAST_SIZE)
    bench_check(block);
  else if (*(unsigned char *)block != bench_mark(size))
    bench_die("a block of %zu bytes was overwritten", size);
  free(block);
}

static void run_burst(size_t size, uint64_t burst) {
  for (uint64_t i = 0; i < burst; i++)
    blocks[i] = obtain(size);
  for (uint64_t i = 0; i < burst; i++)
    release(blocks[i], size);
}

static void run_single(size_t size, uint64_t pairs) {
  for (uint64_t i = 0; i < pairs; i++)
    release(obtain(size), size);
}

int main(int argc, char **argv) {
  uint64_t pairs = 30 * 1000 * 1000;
  uint64_t size = BENCH_LEAST_SIZE;
  uint64_t burst = 1;
  const struct bench_option options[] = {
      {"iterations", &pairs, 1, UINT32_MAX, "pairs of malloc and free; above 4 KiB, that many OS pages"},
      {"size", &size, LEAST_SIZE, BENCH_MIB, "bytes in a block"},
      {"burst", &burst, 1, MOST_BURST, "blocks obtained before the first is freed"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  pairs = bench_scale(pairs, size);
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
