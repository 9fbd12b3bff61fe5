/* SPDX-License-Identifier: MIT */
/*
 * What does a program pay that keeps many small blocks of mixed sizes alive and replaces them in no order?
 *
 * --slots blocks are alive, 16 B to 4 KiB and mostly small, and each operation replaces one at random: one free and
 * one malloc. Several threads divide the blocks and the operations among them and share nothing but the allocator, so
 * that however many they are, the work and the memory are the same.
 */
#include "bench.h"

#include <inttypes.h>

struct mix {
  uint64_t iterations;
  uint64_t slots;
};

static void mix_thread(uint64_t index, void *context) {
  const struct mix *mix = context;
  struct bench_random random = bench_random_stream(index);
  void **slots = calloc(mix->slots, sizeof *slots);
  if (slots == NULL)
    bench_die("out of memory for %" PRIu64 " slots", mix->slots);
  for (uint64_t i = 0; i < mix->iterations; i++) {
    void **slot = &slots[bench_random_below(&random, mix->slots)];
    size_t size = bench_random_size(&random);
    bench_free(*slot);
    *slot = bench_fill(malloc(size), size);
  }
  for (uint64_t i = 0; i < mix->slots; i++)
    bench_free(slots[i]);
  free(slots);
}

int main(int argc, char **argv) {
  uint64_t iterations = 10 * 1000 * 1000;
  uint64_t threads = 1;
  uint64_t slots = 20 * 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks replaced by all threads together"},
      {"threads", &threads, 1, 64, "threads that share them out"},
      {"slots", &slots, 1, 10 * 1000 * 1000, "live blocks of all threads together"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  struct mix mix = {.iterations = (iterations + threads - 1) / threads, .slots = (slots + threads - 1) / threads};
  uint64_t elapsed_ns = bench_run_threads(threads, mix_thread, &mix);
  bench_result(mix.iterations * threads, elapsed_ns, "RandomMix/slots=%" PRIu64 "/threads=%" PRIu64, slots,
               threads);
  return 0;
}
