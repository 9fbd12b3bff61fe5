/* SPDX-License-Identifier: MIT */
/*
 * What does a program pay whose blocks mostly die young, while a few live very long?
 *
 * Sizes are mixed. A lifetime is counted in allocations and drawn from a Pareto distribution with exponent
 * 1/2: half of the blocks are gone after 4 times the shortest lifetime, one in a hundred lives ten thousand
 * times as long, up to a cap. One operation is one malloc, and the free of each block whose time has come.
 */
#include "bench.h"

#include <inttypes.h>

#define SHORTEST_LIFE 64
#define WHEEL_LENGTH (1 << 17)
#define LONGEST_LIFE (WHEEL_LENGTH - 1)

/* What a block begins with: the size is bench_fill's, the link lies between it and the last mark. */
struct block {
  size_t size;
  struct block *next;
};

/* The blocks that die at a moment, modulo the length. */
static struct block *wheel[WHEEL_LENGTH];

static uint64_t draw_lifetime(struct bench_random *random) {
  const double range = 4294967296.0;
  double uniform = (double)((bench_random_next(random) >> 32) + 1) / range;
  double life = SHORTEST_LIFE / (uniform * uniform);
  return life < LONGEST_LIFE ? (uint64_t)life : LONGEST_LIFE;
}

static void free_list(struct block *first) {
  while (first != NULL) {
    struct block *next = first->next;
    bench_free(first);
    first = next;
  }
}

static void live_and_let_die(struct bench_random *random, uint64_t now) {
  struct block **dying = &wheel[now % WHEEL_LENGTH];
  free_list(*dying);
  *dying = NULL;
  size_t size = sizeof(struct block) + bench_random_size(random);
  struct block *block = bench_fill(malloc(size), size);
  struct block **bucket = &wheel[(now + draw_lifetime(random)) % WHEEL_LENGTH];
  block->next = *bucket;
  *bucket = block;
}

int main(int argc, char **argv) {
  uint64_t iterations = 8 * 1000 * 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks allocated"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct bench_random random = bench_random_stream(0);
  uint64_t start_ns = bench_now_ns();
  for (uint64_t now = 0; now < iterations; now++)
    live_and_let_die(&random, now);
  for (size_t i = 0; i < WHEEL_LENGTH; i++)
    free_list(wheel[i]);
  bench_result(iterations, bench_now_ns() - start_ns, "Pareto/shortest=%d", SHORTEST_LIFE);
  return 0;
}
