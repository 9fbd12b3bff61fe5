/* SPDX-License-Identifier: MIT */
/*
 * What does zeroed memory cost: does the allocator know which memory is zero already?
 *
 * A live set whose blocks are replaced at random; most are small, one in 32 is a 64 KiB table. With --size
 * all blocks are of that size, and the larger they are the fewer. Each block is read, one byte in each cache
 * line, to see that it is zero, and then written. One operation is one calloc and one free.
 */
#include "bench.h"

#include <inttypes.h>

#define TABLE_SIZE (64 * BENCH_KIB)
#define BLOCKS_PER_TABLE 32
#define MOST_SLOTS 65536

static void *slots[MOST_SLOTS];

static void expect_zero(const unsigned char *block, size_t size) {
  unsigned char seen = block[size - 1];
  for (size_t offset = 0; offset < size; offset += BENCH_CACHE_LINE)
    seen |= block[offset];
  if (seen != 0)
    bench_die("calloc of %zu bytes is not zero", size);
}

static size_t mixed_size(struct bench_random *random) {
  size_t size = bench_random_size(random);
  return bench_random_below(random, BLOCKS_PER_TABLE) == 0 ? TABLE_SIZE : size;
}

static void replace(struct bench_random *random, void **slot, size_t size) {
  bench_free(*slot);
  *slot = calloc(1, size);
  if (*slot != NULL)
    expect_zero(*slot, size);
  bench_fill(*slot, size);
}

int main(int argc, char **argv) {
  uint64_t iterations = 2 * 1000 * 1000;
  uint64_t slot_count = 1000;
  uint64_t fixed_size = 0;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks replaced"},
      {"slots", &slot_count, 1, MOST_SLOTS, "live blocks"},
      {"size", &fixed_size, 0, BENCH_MIB, "bytes in every block, at least 16; 0 mixes sizes"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));
  if (fixed_size != 0 && fixed_size < BENCH_LEAST_SIZE)
    bench_die("--size is 0 or at least %d", BENCH_LEAST_SIZE);

  iterations = bench_scale(iterations, fixed_size);
  struct bench_random random = bench_random_stream(0);
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < iterations; i++) {
    size_t size = fixed_size != 0 ? fixed_size : mixed_size(&random);
    replace(&random, &slots[bench_random_below(&random, slot_count)], size);
  }
  for (uint64_t i = 0; i < slot_count; i++)
    bench_free(slots[i]);
  uint64_t elapsed_ns = bench_now_ns() - start_ns;
  if (fixed_size == 0)
    bench_result(iterations, elapsed_ns, "Calloc/slots=%" PRIu64, slot_count);
  else
    bench_result(iterations, elapsed_ns, "Calloc/slots=%" PRIu64 "/size=%" PRIu64, slot_count, fixed_size);
  return 0;
}
