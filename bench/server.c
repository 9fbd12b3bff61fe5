/* SPDX-License-Identifier: MIT */
/*
 * What does a server pay whose objects are freed by whichever thread meets them last?
 *
 * Worker threads share an array of slots. In each operation a worker fills a new block, swaps it into a
 * random slot and frees the block it finds there, which another worker mostly allocated. Which thread frees
 * which block depends on timing; the number of operations and the sizes do not.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdatomic.h>

#define MOST_SLOTS (1 << 20)

static void *_Atomic slots[MOST_SLOTS];

struct server {
  uint64_t iterations;
  uint64_t slots;
};

static void server_thread(uint64_t index, void *context) {
  const struct server *server = context;
  struct bench_random random = bench_random_stream(index);
  for (uint64_t i = 0; i < server->iterations; i++) {
    size_t size = bench_random_size(&random);
    uint64_t slot = bench_random_below(&random, server->slots);
    void *block = bench_fill(malloc(size), size);
    /* Release publishes the marks of the new block, acquire shows those of the old one. */
    bench_free(atomic_exchange_explicit(&slots[slot], block, memory_order_acq_rel));
  }
}

int main(int argc, char **argv) {
  uint64_t iterations = 3 * 1000 * 1000;
  uint64_t threads = 4;
  uint64_t slot_count = 10 * 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks handed over by each thread"},
      {"threads", &threads, 1, 64, "worker threads"},
      {"slots", &slot_count, 1, MOST_SLOTS, "live blocks shared by the workers"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct server server = {.iterations = iterations, .slots = slot_count};
  uint64_t elapsed_ns = bench_run_threads(threads, server_thread, &server);
  for (uint64_t i = 0; i < slot_count; i++)
    bench_free(atomic_load(&slots[i]));
  bench_result(iterations * threads, elapsed_ns, "Server/slots=%" PRIu64 "/threads=%" PRIu64, slot_count,
               threads);
  return 0;
}
