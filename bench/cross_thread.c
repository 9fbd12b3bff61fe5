/* SPDX-License-Identifier: MIT */
/*
 * What does it cost when one thread allocates everything and another frees everything?
 *
 * A producer fills blocks of mixed small sizes and passes them in batches through a ring of fixed length to a
 * consumer, which checks and frees them: the shape of a parser thread and a worker thread. One operation is
 * one block handed over.
 */
#include "bench.h"

#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>

#define RING_LENGTH 1024
#define BATCH 64
#define TRIES_BEFORE_YIELD 64

/*
 * Positions only grow. The release store of one side pairs with the acquire load of the other: a slot is read
 * after it was written, and written again after it was read. Both sides publish whole batches, as queues do
 * that are meant to be fast; block by block, the time would be that of two cache lines going back and forth.
 */
struct ring {
  _Alignas(BENCH_CACHE_LINE) _Atomic uint64_t pushed;
  _Alignas(BENCH_CACHE_LINE) _Atomic uint64_t popped;
  _Alignas(BENCH_CACHE_LINE) void *slots[RING_LENGTH];
  uint64_t batches;
};

static void wait_until(_Atomic uint64_t *position, uint64_t least) {
  for (unsigned tries = 1; atomic_load_explicit(position, memory_order_acquire) < least; tries++) {
    if (tries % TRIES_BEFORE_YIELD == 0)
      sched_yield();
  }
}

static void produce(struct ring *ring) {
  struct bench_random random = bench_random_stream(0);
  for (uint64_t first = 0; first < ring->batches * BATCH; first += BATCH) {
    if (first >= RING_LENGTH)
      wait_until(&ring->popped, first + BATCH - RING_LENGTH);
    for (uint64_t i = first; i < first + BATCH; i++) {
      size_t size = bench_random_size(&random);
      ring->slots[i % RING_LENGTH] = bench_fill(malloc(size), size);
    }
    atomic_store_explicit(&ring->pushed, first + BATCH, memory_order_release);
  }
}

static void consume(struct ring *ring) {
  for (uint64_t first = 0; first < ring->batches * BATCH; first += BATCH) {
    wait_until(&ring->pushed, first + BATCH);
    for (uint64_t i = first; i < first + BATCH; i++)
      bench_free(ring->slots[i % RING_LENGTH]);
    atomic_store_explicit(&ring->popped, first + BATCH, memory_order_release);
  }
}

static void produce_or_consume(uint64_t index, void *context) {
  if (index == 0)
    produce(context);
  else
    consume(context);
}

int main(int argc, char **argv) {
  static struct ring ring;
  uint64_t iterations = 3 * 1000 * 1000;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks handed from producer to consumer"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  ring.batches = (iterations + BATCH - 1) / BATCH;
  uint64_t elapsed_ns = bench_run_threads(2, produce_or_consume, &ring);
  bench_result(ring.batches * BATCH, elapsed_ns, "CrossThread/ring=%d", RING_LENGTH);
  return 0;
}
