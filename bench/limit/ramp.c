/* SPDX-License-Identifier: MIT */
/*
 * What does a memory limit cost, and does it hold? The same program as ramp.go, run without and with
 * HALLOC_MEMLIMIT.
 *
 *   ramp ramp    the live set grows in steps of 10 % to 80 % of --mib; at each step random blocks are
 *                replaced by others of 64 B to 8 KiB
 *   ramp shift   the same in phases of all sizes, small ones, large ones: what one leaves free between blocks
 *                is of no use to the next. From 70 % on the OS pages that hold blocks exceed the limit
 *   ramp refill  --fill % of --mib in blocks of --size bytes, of which one in --keep stays; then ten times
 *                larger blocks until what must be resident is 90 % of --mib
 *   ramp lower   80 % of --mib in use, three quarters of it freed, the limit set to 30 % while that is idle
 *   ramp over    the live set at 120 % of --mib, blocks replaced for --seconds
 *
 * A thread reads the quantity that is limited, Sys - HeapReleased, every millisecond and keeps the largest.
 * Every line has the form that benchstat reads; --mib sizes the work and sets no limit.
 */
#include "../bench.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "../rss.h"
#include "halloc.h"

/* Fields of struct hp_memstats, to be named here when there are any; until then no figures. */
#define FIELD_RELEASE_CPU_NS ReleaseCPUNanos
#define FIELD_LIMIT_EXCEEDED MemoryLimitExceeded

#define MOST_BLOCKS (2 * 1024 * 1024)
#define SMALLEST 64
#define OCTAVES 7 /* to 8 KiB */
#define NS_PER_MS 1000000
#define NS_PER_S UINT64_C(1000000000)
#define PATIENCE_NS (5 * NS_PER_S)

static uint64_t operations = 4 * 1000 * 1000, mib = 256, size = 1024, keep = 20, fill = 90, seconds = 10;
static void *blocks[MOST_BLOCKS];
static uint64_t block_count, live;
static struct bench_random dice;

static int (*read_stats)(struct hp_memstats *, size_t);
static int64_t (*set_limit)(int64_t);

static struct hp_memstats stats_now(void) {
  struct hp_memstats stats;
  read_stats(&stats, sizeof stats);
  return stats;
}

static uint64_t limited_now(void) {
  struct hp_memstats stats = stats_now();
  return stats.Sys - stats.HeapReleased;
}

/* ---- The sampler ---- */

static atomic_uint_least64_t largest, samples;

static void *sample(void *arg) {
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (;;) {
    uint64_t now = limited_now();
    uint64_t seen = atomic_load(&largest);
    if (now > seen)
      atomic_compare_exchange_strong(&largest, &seen, now);
    atomic_fetch_add(&samples, 1);
    next.tv_nsec += NS_PER_MS;
    next.tv_sec += next.tv_nsec / (long)NS_PER_S;
    next.tv_nsec %= (long)NS_PER_S;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
  return arg;
}

static void reset_sampler(void) {
  atomic_store(&largest, 0);
  atomic_store(&samples, 0);
}

/* ---- Blocks ---- */

/* The octaves that new blocks are drawn from. */
struct octaves {
  unsigned first, count;
};

static const struct octaves all_octaves = {0, OCTAVES};

static size_t random_size(struct octaves from) {
  size_t least = (size_t)SMALLEST << (from.first + bench_random_below(&dice, from.count));
  return least + bench_random_below(&dice, least);
}

static void add_block(size_t bytes) {
  if (block_count == MOST_BLOCKS)
    bench_die("more than %d blocks", MOST_BLOCKS);
  blocks[block_count++] = bench_fill(malloc(bytes), bytes);
  live += bytes;
}

static void free_block(uint64_t index) {
  live -= bench_check(blocks[index]);
  free(blocks[index]);
}

static uint64_t grow_to(uint64_t bytes, struct octaves from) {
  uint64_t before = block_count;
  while (live < bytes)
    add_block(random_size(from));
  return block_count - before;
}

/* Frees random blocks and fills up to the target again. Returns the blocks allocated, at least `least`. */
static uint64_t churn(uint64_t least, uint64_t target, struct octaves from) {
  uint64_t done = 0;
  while (done < least) {
    uint64_t index = bench_random_below(&dice, block_count);
    free_block(index);
    blocks[index] = blocks[--block_count];
    done += grow_to(target, from);
  }
  return done;
}

/* ---- Results ---- */

static uint64_t cpu_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Ends the line that the caller began. The largest quantity is that since reset_sampler. */
static void print_memory(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf(" %" PRIu64 " live-bytes %" PRIu64 " limited-bytes %" PRId64 " RSS-bytes %ld peak-RSS-bytes %" PRIu64
         " samples\n",
         live, (uint64_t)atomic_load(&largest), bench_rss_bytes(), usage.ru_maxrss * 1024L,
         (uint64_t)atomic_load(&samples));
  fflush(stdout);
}

static void climb(const char *name, const struct octaves *phases, size_t count) {
  for (uint64_t percent = 10; percent <= 80; percent += 10) {
    uint64_t target = mib * BENCH_MIB * percent / 100;
    uint64_t done = 0;
    reset_sampler();
    grow_to(target, all_octaves);
    uint64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < count; i++)
      done += churn(operations / count, target, phases[i]);
    uint64_t elapsed_ns = bench_now_ns() - start_ns;
    printf("BenchmarkLimit%s/live=%" PRIu64 "%% %" PRIu64 " %.2f ns/op", name, percent, done,
           (double)elapsed_ns / (double)done);
    print_memory();
  }
}

static void ramp(void) {
  climb("Ramp", &all_octaves, 1);
}

static void shift(void) {
  static const struct octaves phases[] = {{0, OCTAVES}, {0, 3}, {4, 3}};
  climb("Shift", phases, BENCH_COUNT(phases));
}

/* The part of the filled OS pages that keeps at least one block, each staying with the chance 1 / keep. */
static double held_part(void) {
  double none_stays = 1;
  for (size_t on_page = 0; on_page < (size < BENCH_OS_PAGE ? BENCH_OS_PAGE / size : 1); on_page++)
    none_stays *= 1 - 1.0 / (double)keep;
  return 1 - none_stays;
}

static void refill(void) {
  uint64_t bytes = mib * BENCH_MIB * fill / 100;
  uint64_t held = (uint64_t)((double)bytes * held_part());
  reset_sampler();
  uint64_t start_ns = bench_now_ns();
  while (live < bytes)
    add_block(size);
  uint64_t kept = 0;
  for (uint64_t i = 0; i < block_count; i++) {
    if (bench_random_below(&dice, keep) == 0)
      blocks[kept++] = blocks[i];
    else
      free_block(i);
  }
  block_count = kept;
  for (uint64_t more = 0; held + more < mib * BENCH_MIB * 9 / 10; more += 10 * size)
    add_block(10 * size);
  printf("BenchmarkLimitRefill/size=%" PRIu64 "/keep=%" PRIu64 "/fill=%" PRIu64 "%% 1 %" PRIu64
         " ns/op %" PRIu64 " held-bytes",
         size, keep, fill, bench_now_ns() - start_ns, mib * BENCH_MIB * 9 / 10);
  print_memory();
}

static void lower(void) {
  if (set_limit == NULL)
    bench_die("this library has no hp_set_memory_limit");
  grow_to(mib * BENCH_MIB * 8 / 10, all_octaves);
  for (uint64_t kept = block_count / 4; block_count > kept;)
    free_block(--block_count); /* in the order of allocation, so that whole spans become idle */
  uint64_t limit = mib * BENCH_MIB * 3 / 10;
  uint64_t before = limited_now();
  reset_sampler();
  uint64_t start_ns = bench_now_ns();
  set_limit((int64_t)limit);
  uint64_t call_ns = bench_now_ns() - start_ns;
  uint64_t now;
  uint64_t elapsed_ns;
  do {
    now = limited_now();
    elapsed_ns = bench_now_ns() - start_ns;
  } while (now > limit && elapsed_ns < PATIENCE_NS);
  printf("BenchmarkLimitLower 1 %" PRIu64 " ns/op %" PRIu64 " call-ns %" PRIu64 " before-bytes %" PRIu64
         " after-bytes %" PRIu64 " limit-bytes %s",
         elapsed_ns, call_ns, before, now, limit, now <= limit ? "1 reached" : "0 reached");
  print_memory();
}

static void print_release(const struct hp_memstats *before, const struct hp_memstats *after,
                          uint64_t elapsed_ns) {
#ifdef FIELD_RELEASE_CPU_NS
  printf(" %.2f release-cpu-%%",
         (double)(after->FIELD_RELEASE_CPU_NS - before->FIELD_RELEASE_CPU_NS) * 100 / (double)elapsed_ns);
#endif
#ifdef FIELD_LIMIT_EXCEEDED
  printf(" %" PRIu64 " exceeded", after->FIELD_LIMIT_EXCEEDED - before->FIELD_LIMIT_EXCEEDED);
#endif
  (void)before, (void)after, (void)elapsed_ns;
}

static void over(void) {
  uint64_t done = 0;
  uint64_t elapsed_ns;
  reset_sampler();
  uint64_t target = mib * BENCH_MIB * 12 / 10;
  grow_to(target, all_octaves);
  struct hp_memstats before = stats_now();
  uint64_t cpu_ns = cpu_now_ns();
  uint64_t start_ns = bench_now_ns();
  do {
    done += churn(1000, target, all_octaves);
    elapsed_ns = bench_now_ns() - start_ns;
  } while (elapsed_ns < seconds * NS_PER_S);
  cpu_ns = cpu_now_ns() - cpu_ns;
  struct hp_memstats after = stats_now();
  printf("BenchmarkLimitOver %" PRIu64 " %.2f ns/op %.1f cpu-%%", done, (double)elapsed_ns / (double)done,
         (double)cpu_ns * 100 / (double)elapsed_ns);
  print_release(&before, &after, elapsed_ns);
  print_memory();
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
  } modes[] = {{"ramp", ramp}, {"shift", shift}, {"refill", refill}, {"lower", lower}, {"over", over}};
  const struct bench_option options[] = {
      {"operations", &operations, 1, UINT32_MAX, "blocks replaced at each step of ramp and shift"},
      {"mib", &mib, 16, 4096, "the limit that the work is sized for"},
      {"size", &size, 16, 65536, "refill: bytes of a block"},
      {"keep", &keep, 1, 1000, "refill: one in so many blocks stays"},
      {"fill", &fill, 1, 100, "refill: percent of --mib filled at first"},
      {"seconds", &seconds, 1, 3600, "over: how long"},
  };
  pthread_t sampler;
  *(void **)&read_stats = dlsym(RTLD_DEFAULT, "hp_memstats_read");
  *(void **)&set_limit = dlsym(RTLD_DEFAULT, "hp_set_memory_limit");
  if (read_stats == NULL)
    bench_die("halloc is not in this process; preload it");
  for (size_t i = 0; argc > 1 && i < BENCH_COUNT(modes); i++) {
    if (strcmp(argv[1], modes[i].name) == 0) {
      bench_parse(argc - 1, argv + 1, options, BENCH_COUNT(options));
      dice = bench_random_stream(0);
      if (pthread_create(&sampler, NULL, sample, NULL) != 0)
        bench_die("cannot start the sampler");
      modes[i].run();
      return 0;
    }
  }
  fprintf(stderr, "usage: ramp {ramp|shift|refill|lower|over} [--quick] [--option value]...\n");
  return 2;
}
