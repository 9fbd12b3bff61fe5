/* SPDX-License-Identifier: MIT */
/*
 * What does alignment cost beyond that of malloc?
 *
 * A live set whose blocks are replaced at random, aligned for vectors (32 bytes), for cache lines (64) and,
 * one time in eight, for OS pages (4096). One operation is one aligned_alloc and one free.
 */
#include "bench.h"

#include <inttypes.h>

#define MOST_SLOTS 65536

static void *slots[MOST_SLOTS];

/* Drawn from uniformly: repetition is weight. */
static const size_t alignments[] = {
    32, 32, 32, 32, BENCH_CACHE_LINE, BENCH_CACHE_LINE, BENCH_CACHE_LINE, BENCH_OS_PAGE};

static void replace(struct bench_random *random, void **slot) {
  size_t alignment = alignments[bench_random_below(random, BENCH_COUNT(alignments))];
  /* C11 wants a multiple of the alignment. */
  size_t size = (bench_random_size(random) + alignment - 1) & ~(alignment - 1);
  bench_free(*slot);
  *slot = bench_fill(aligned_alloc(alignment, size), size);
  if (((uintptr_t)*slot & (alignment - 1)) != 0)
    bench_die("a block of %zu bytes is not aligned to %zu", size, alignment);
}

int main(int argc, char **argv) {
  uint64_t iterations = 3 * 1000 * 1000;
  uint64_t slot_count = 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks replaced"},
      {"slots", &slot_count, 1, MOST_SLOTS, "live blocks"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct bench_random random = bench_random_stream(0);
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < iterations; i++)
    replace(&random, &slots[bench_random_below(&random, slot_count)]);
  for (uint64_t i = 0; i < slot_count; i++)
    bench_free(slots[i]);
  bench_result(iterations, bench_now_ns() - start_ns, "Aligned/slots=%" PRIu64, slot_count);
  return 0;
}
