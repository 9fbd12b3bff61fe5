/* SPDX-License-Identifier: MIT */
/*
 * What does a growing buffer cost, when many of them grow side by side?
 *
 * Buffers that start small and grow by half, one picked at random in each operation, so that the room behind
 * a buffer is rarely free. The new part is filled and the old part checked. A buffer that has reached 256 KiB
 * is freed and starts again. One operation is one realloc.
 */
#include "bench.h"

#include <inttypes.h>

#define FULL_SIZE (256 * BENCH_KIB)
#define MOST_BUFFERS 4096

static void *buffers[MOST_BUFFERS];

static void grow(void **buffer) {
  size_t size = *buffer != NULL ? bench_check(*buffer) : 0;
  if (size >= FULL_SIZE) {
    free(*buffer);
    *buffer = NULL;
    size = 0;
  }
  size_t larger = size + size / 2 + BENCH_LEAST_SIZE;
  void *moved = realloc(*buffer, larger);
  if (moved == NULL)
    bench_die("out of memory for %zu bytes", larger);
  if (size != 0)
    bench_check(moved);
  bench_fill_from(moved, size, larger, BENCH_CACHE_LINE);
  *buffer = moved;
}

int main(int argc, char **argv) {
  uint64_t iterations = 250 * 1000;
  uint64_t buffer_count = 64;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "calls of realloc"},
      {"buffers", &buffer_count, 1, MOST_BUFFERS, "buffers that grow side by side"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct bench_random random = bench_random_stream(0);
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < iterations; i++)
    grow(&buffers[bench_random_below(&random, buffer_count)]);
  for (uint64_t i = 0; i < buffer_count; i++)
    bench_free(buffers[i]);
  bench_result(iterations, bench_now_ns() - start_ns, "ReallocGrow/buffers=%" PRIu64, buffer_count);
  return 0;
}
