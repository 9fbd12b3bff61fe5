/* SPDX-License-Identifier: MIT */
/*
 * What does a load cost that comes in bursts, and leaves a few blocks of each behind?
 *
 * A burst obtains many blocks of mixed sizes and then frees all but every 64th; those stay, scattered over
 * the memory of the burst, until the burst after the next has drained. One operation is one malloc and one
 * free.
 */
#include "bench.h"

#include <inttypes.h>

#define MOST_BLOCKS (1 << 20)
#define SURVIVOR_STRIDE 64
#define GENERATIONS 2

static void *blocks[GENERATIONS][MOST_BLOCKS];

static void burst(struct bench_random *random, void **block, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    size_t size = bench_random_size(random);
    block[i] = bench_fill(malloc(size), size);
  }
}

static void drain(void **block, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    if (i % SURVIVOR_STRIDE != 0)
      bench_free(block[i]);
  }
}

static void free_survivors(void **block, uint64_t count) {
  for (uint64_t i = 0; i < count; i += SURVIVOR_STRIDE) {
    bench_free(block[i]);
    block[i] = NULL;
  }
}

/* `older` holds the survivors of the burst before the last; the new burst takes their place. */
static void run_burst(struct bench_random *random, void **older, uint64_t count) {
  static void *fresh[MOST_BLOCKS];
  burst(random, fresh, count);
  drain(fresh, count);
  free_survivors(older, count);
  for (uint64_t i = 0; i < count; i += SURVIVOR_STRIDE)
    older[i] = fresh[i];
}

int main(int argc, char **argv) {
  uint64_t iterations = 6 * 1000 * 1000;
  uint64_t count = 100 * 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks allocated and freed"},
      {"blocks", &count, 1, MOST_BLOCKS, "blocks in a burst"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct bench_random random = bench_random_stream(0);
  uint64_t bursts = (iterations + count - 1) / count;
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < bursts; i++)
    run_burst(&random, blocks[i % GENERATIONS], count);
  for (uint64_t i = 0; i < GENERATIONS; i++)
    free_survivors(blocks[i], count);
  bench_result(bursts * count, bench_now_ns() - start_ns, "BurstDrain/blocks=%" PRIu64, count);
  return 0;
}
