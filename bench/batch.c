/* SPDX-License-Identifier: MIT */
/*
 * Does it matter in which order a batch of blocks is freed?
 *
 * Blocks of mixed small sizes are all obtained and then all freed: the last first, the first first, or in an
 * order without pattern that is the same for every batch. One operation is one malloc and one free.
 */
#include "bench.h"

#include <inttypes.h>

#define MOST_BLOCKS (1 << 20)

enum order { LAST_FIRST = 1, FIRST_FIRST, SHUFFLED, ORDERS };

static const char *const order_names[ORDERS] = {
    [LAST_FIRST] = "lifo", [FIRST_FIRST] = "fifo", [SHUFFLED] = "random"};

static void *blocks[MOST_BLOCKS];
static uint32_t turns[MOST_BLOCKS];

/* Fisher and Yates. */
static void shuffle(uint64_t count) {
  struct bench_random random = bench_random_stream(1);
  for (uint64_t i = count - 1; i > 0; i--) {
    uint64_t j = bench_random_below(&random, i + 1);
    uint32_t turn = turns[i];
    turns[i] = turns[j];
    turns[j] = turn;
  }
}

/* turns[i] is the block that is freed as number i; looked up in every order, so that all pay for the look. */
static void arrange(enum order order, uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    turns[i] = (uint32_t)(order == LAST_FIRST ? count - 1 - i : i);
  if (order == SHUFFLED)
    shuffle(count);
}

static void run_batch(struct bench_random *random, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    size_t size = bench_random_size(random);
    blocks[i] = bench_fill(malloc(size), size);
  }
  for (uint64_t i = 0; i < count; i++)
    bench_free(blocks[turns[i]]);
}

int main(int argc, char **argv) {
  uint64_t iterations = 8 * 1000 * 1000;
  uint64_t order = SHUFFLED;
  uint64_t count = 10 * 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks allocated and freed"},
      {"order", &order, LAST_FIRST, SHUFFLED, "of the frees: 1 last first, 2 first first, 3 random"},
      {"blocks", &count, 1, MOST_BLOCKS, "blocks in a batch"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  arrange((enum order)order, count);
  struct bench_random random = bench_random_stream(0);
  uint64_t batches = (iterations + count - 1) / count;
  uint64_t start_ns = bench_now_ns();
  for (uint64_t i = 0; i < batches; i++)
    run_batch(&random, count);
  bench_result(batches * count, bench_now_ns() - start_ns, "Batch/order=%s/blocks=%" PRIu64,
               order_names[order], count);
  return 0;
}
