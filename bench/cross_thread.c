/* SPDX-License-Identifier: MIT */
/*
 * What does it cost when one thread or several allocate everything and another frees everything?
 *
 * A producer fills blocks of mixed small sizes and passes them in batches through a ring of fixed length to a
 * consumer, which checks and frees them: the shape of a parser thread and a worker thread. Every producer has
 * a ring of its own, and the consumer takes what is there from each in turn. One operation is one block
 * handed over.
 */
#include "bench.h"

#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#define MOST_PRODUCERS 32
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

static struct ring rings[MOST_PRODUCERS];

static void produce(struct ring *ring, uint64_t stream) {
  struct bench_random random = bench_random_stream(stream);
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

/* Only the consumer writes `popped`. Whether there was a batch to take. */
static bool consume_batch(struct ring *ring) {
  uint64_t first = atomic_load_explicit(&ring->popped, memory_order_relaxed);
  if (atomic_load_explicit(&ring->pushed, memory_order_acquire) == first)
    return false;
  for (uint64_t i = first; i < first + BATCH; i++)
    bench_free(ring->slots[i % RING_LENGTH]);
  atomic_store_explicit(&ring->popped, first + BATCH, memory_order_release);
  return true;
}

static void consume(uint64_t producers) {
  uint64_t batches = rings[0].batches * producers;
  unsigned idle_tries = 0;
  for (uint64_t turn = 0; batches > 0; turn++) {
    if (consume_batch(&rings[turn % producers])) {
      batches--;
      idle_tries = 0;
    } else if (++idle_tries % TRIES_BEFORE_YIELD == 0) {
      sched_yield();
    }
  }
}

static void produce_or_consume(uint64_t index, void *context) {
  if (index == 0)
    consume(*(const uint64_t *)context);
  else
    produce(&rings[index - 1], index - 1);
}

int main(int argc, char **argv) {
  uint64_t iterations = 3 * 1000 * 1000;
  uint64_t producers = 1;
  const struct bench_option options[] = {
      {"iterations", &iterations, 1, UINT32_MAX, "blocks handed over by all producers together"},
      {"producers", &producers, 1, MOST_PRODUCERS, "threads that allocate"},
  };
  bench_parse(argc, argv, options, BENCH_COUNT(options));

  uint64_t batches = (iterations + BATCH * producers - 1) / (BATCH * producers);
  for (uint64_t i = 0; i < producers; i++)
    rings[i].batches = batches;
  uint64_t elapsed_ns = bench_run_threads(producers + 1, produce_or_consume, &producers);
  bench_result(batches * BATCH * producers, elapsed_ns, "CrossThread/producers=%" PRIu64, producers);
  return 0;
}
