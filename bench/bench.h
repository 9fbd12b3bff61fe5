/* SPDX-License-Identifier: MIT */
/*
 * What the benchmark programs share: options, a clock, random numbers that depend on the seed alone, the way
 * a program uses its blocks, threads that start together, and the result line.
 *
 * Every program does a fixed amount of work that its arguments decide, so the work is the same under every
 * allocator and only the time differs. A block is written when it is obtained and looked at before it is
 * freed, one byte in each cache line: a block that nobody touches would hide the cost of a scattered heap.
 * The same marks show a block that was handed out twice or overwritten, and the program stops with a message.
 */
#ifndef HALLOC_BENCH_H
#define HALLOC_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define BENCH_CACHE_LINE 64
#define BENCH_OS_PAGE 4096
#define BENCH_KIB ((size_t)1 << 10)
#define BENCH_MIB ((size_t)1 << 20)
#define BENCH_LEAST_SIZE 16
#define BENCH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The starting point of every random sequence; printed, and not an option, so that runs can be compared. */
#define BENCH_SEED UINT64_C(0x68616c6c6f63)

/* One command-line option `--name value`. The value keeps its default when the option is not given. */
struct bench_option {
  const char *name;
  uint64_t *value;
  uint64_t least;
  uint64_t most;
  const char *help;
};

struct bench_random {
  uint64_t state;
};

/*
 * Reads the command line and prints the seed. The first option is the amount of work; `--quick` divides its
 * default. A wrong argument ends the program with a usage message and status 2.
 */
void bench_parse(int argc, char **argv, const struct bench_option *options, size_t count);

/* Monotonic time. */
uint64_t bench_now_ns(void);

/*
 * Calls work(index, context) for index 0 … threads-1, each on a thread of its own, all starting together; a
 * single worker runs on the calling thread. Returns the time from the first start to the last end.
 */
uint64_t bench_run_threads(uint64_t threads, void (*work)(uint64_t index, void *context), void *context);

/* Prints `Benchmark<name> <operations> <value> ns/op`, the form that Go's benchstat reads. */
void bench_result(uint64_t operations, uint64_t elapsed_ns, const char *name_format, ...)
    __attribute__((format(printf, 3, 4)));

/* Ends the program with a message and status 1. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* Independent sequences for independent threads: the stream number is mixed into the seed. */
struct bench_random bench_random_stream(uint64_t stream);

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016). */
static inline uint64_t bench_random_next(struct bench_random *random) {
  uint64_t x = random->state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  random->state = x;
  return x * UINT64_C(0x2545f4914f6cdd1d);
}

/*
 * Larger blocks take longer to fill: the amount of work given for blocks of up to an OS page, divided by the
 * OS pages of a block.
 */
static inline uint64_t bench_scale(uint64_t amount, size_t size) {
  uint64_t os_pages = (size + BENCH_OS_PAGE - 1) / BENCH_OS_PAGE;
  return os_pages > 1 && amount > os_pages ? amount / os_pages : amount;
}

/* Uniform in [0, limit), limit below 2^32: the high half of a product instead of a division. */
static inline uint64_t bench_random_below(struct bench_random *random, uint64_t limit) {
  return ((bench_random_next(random) >> 32) * limit) >> 32;
}

/*
 * A size from 16 B to 4 KiB as programs ask for them: half of the sizes lie in [16, 32), a quarter in [32,
 * 64), and so on up to the last octave, which is [2 KiB, 4 KiB).
 */
static inline size_t bench_random_size(struct bench_random *random) {
  const unsigned last_octave = 7;
  unsigned octave = (unsigned)__builtin_ctzll(bench_random_next(random) | (UINT64_C(1) << last_octave));
  size_t base = (size_t)BENCH_LEAST_SIZE << octave;
  return base + bench_random_below(random, base);
}

/* The compiler may not reason about the memory behind the pointer, nor remove its allocation. */
static inline void bench_keep(void *block) {
  __asm__ volatile("" : : "g"(block) : "memory");
}

static inline unsigned char bench_mark(size_t size) {
  return (unsigned char)(size ^ (size >> 8) ^ 0x5a);
}

/* Writes one byte in each step of [from, size), then the size at the front and its mark at the end. */
static inline void bench_fill_from(void *block, size_t from, size_t size, size_t step) {
  unsigned char *bytes = block;
  for (size_t offset = from; offset < size; offset += step)
    bytes[offset] = bench_mark(size);
  *(size_t *)block = size;
  bytes[size - 1] = bench_mark(size);
  bench_keep(block);
}

/* For a block of at least BENCH_LEAST_SIZE bytes, straight from the allocator. Returns the block. */
static inline void *bench_fill(void *block, size_t size) {
  if (block == NULL)
    bench_die("out of memory for %zu bytes", size);
  bench_fill_from(block, 0, size, BENCH_CACHE_LINE);
  return block;
}

/* The size that the block was filled with; stops the program when the marks are gone. */
static inline size_t bench_check(const void *block) {
  size_t size = *(const size_t *)block;
  if (((const unsigned char *)block)[size - 1] != bench_mark(size))
    bench_die("a block of %zu bytes was overwritten", size);
  return size;
}

/* Frees a filled block, or does nothing for NULL. */
static inline void bench_free(void *block) {
  if (block != NULL)
    bench_check(block);
  free(block);
}

#endif
