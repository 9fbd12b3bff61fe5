/* SPDX-License-Identifier: MIT */
/*
 * The parts of the benchmark programs that are not inside the measured loop: command line, threads, result
 * line.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BENCH_NS_PER_S UINT64_C(1000000000)
#define BENCH_QUICK_DIVISOR 4
#define BENCH_MOST_THREADS 64

struct worker {
  pthread_t thread;
  pthread_barrier_t *start;
  void (*work)(uint64_t index, void *context);
  void *context;
  uint64_t index;
  uint64_t start_ns;
  uint64_t end_ns;
};

void bench_die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("bench: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

static _Noreturn void usage(const char *program, const struct bench_option *options, size_t count) {
  fprintf(stderr, "usage: %s [--quick] [--option value]...\n", program);
  fprintf(stderr, "  --%-12s divide the default --%s by %d\n", "quick", options[0].name, BENCH_QUICK_DIVISOR);
  for (size_t i = 0; i < count; i++) {
    fprintf(stderr, "  --%-12s %s (default %" PRIu64 ", %" PRIu64 " to %" PRIu64 ")\n", options[i].name,
            options[i].help, *options[i].value, options[i].least, options[i].most);
  }
  exit(2);
}

static bool read_value(const struct bench_option *option, const char *text) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || *text == '-')
    return false;
  if (value < option->least || value > option->most)
    return false;
  *option->value = value;
  return true;
}

static const struct bench_option *find_option(const struct bench_option *options, size_t count,
                                              const char *word) {
  for (size_t i = 0; i < count; i++) {
    if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, options[i].name) == 0)
      return &options[i];
  }
  return NULL;
}

void bench_parse(int argc, char **argv, const struct bench_option *options, size_t count) {
  bool is_quick = false;
  bool has_amount = false;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) {
      is_quick = true;
      continue;
    }
    const struct bench_option *option = find_option(options, count, argv[i]);
    if (option == NULL || i + 1 == argc || !read_value(option, argv[++i]))
      usage(argv[0], options, count);
    has_amount |= option == &options[0];
  }
  if (is_quick && !has_amount)
    *options[0].value /= BENCH_QUICK_DIVISOR;
  printf("seed: 0x%" PRIx64 "\n", BENCH_SEED);
}

uint64_t bench_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * BENCH_NS_PER_S + (uint64_t)now.tv_nsec;
}

struct bench_random bench_random_stream(uint64_t stream) {
  /* The odd multiplier keeps the streams apart; a state of zero would stay zero. */
  return (struct bench_random){.state = (BENCH_SEED + stream) * UINT64_C(0x9e3779b97f4a7c15) | 1};
}

static void *worker_main(void *argument) {
  struct worker *worker = argument;
  pthread_barrier_wait(worker->start);
  worker->start_ns = bench_now_ns();
  worker->work(worker->index, worker->context);
  worker->end_ns = bench_now_ns();
  return NULL;
}

static uint64_t run_alone(void (*work)(uint64_t index, void *context), void *context) {
  uint64_t start_ns = bench_now_ns();
  work(0, context);
  return bench_now_ns() - start_ns;
}

uint64_t bench_run_threads(uint64_t threads, void (*work)(uint64_t index, void *context), void *context) {
  static struct worker workers[BENCH_MOST_THREADS];
  pthread_barrier_t start;
  if (threads > BENCH_MOST_THREADS)
    bench_die("at most %d threads", BENCH_MOST_THREADS);
  if (threads == 1)
    return run_alone(work, context);
  pthread_barrier_init(&start, NULL, (unsigned)threads);
  for (uint64_t i = 0; i < threads; i++) {
    workers[i] = (struct worker){.start = &start, .work = work, .context = context, .index = i};
    if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
      bench_die("cannot start thread %" PRIu64, i);
  }
  uint64_t first_ns = UINT64_MAX;
  uint64_t last_ns = 0;
  for (uint64_t i = 0; i < threads; i++) {
    pthread_join(workers[i].thread, NULL);
    first_ns = workers[i].start_ns < first_ns ? workers[i].start_ns : first_ns;
    last_ns = workers[i].end_ns > last_ns ? workers[i].end_ns : last_ns;
  }
  pthread_barrier_destroy(&start);
  return last_ns - first_ns;
}

void bench_result(uint64_t operations, uint64_t elapsed_ns, const char *name_format, ...) {
  va_list arguments;
  va_start(arguments, name_format);
  fputs("Benchmark", stdout);
  vprintf(name_format, arguments);
  va_end(arguments);
  printf(" %" PRIu64 " %.2f ns/op\n", operations, (double)elapsed_ns / (double)operations);
  if (fflush(stdout) != 0)
    bench_die("cannot write the result: %s", strerror(errno));
}
