/* SPDX-License-Identifier: MIT */
/*
 * What a profile of many stacks and live samples costs: time, memory, and the time that another thread's malloc has
 * to wait because of it.
 *
 * scale [STACKS SAMPLES AGES]
 *
 * Makes STACKS distinct call stacks of some 25 frames with SAMPLES live samples (rate 1), in AGES portions more than a
 * second apart, then writes each profile while two threads allocate and free. Prints a line for each profile, and
 * exits 1 if one takes more than 2 s or 64 MiB.
 *
 * Memory is the highest resident size during the call less that before it, as the kernel has it (clear_refs, VmHWM).
 * A call of malloc or free that takes long was either put aside by the scheduler, or it waited for a lock, which shows
 * as a voluntary context switch (getrusage), or it was busy, which shows as processor time. Only the two latter are
 * the library's doing, and the first line tells how much of it the two threads do to each other without a profile.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LEVELS 20
#define THREADS 2
#define MIB (1024.0 * 1024.0)
#define NANOS_PER_SECOND 1000000000.0
#define MILLIS 1e3
#define SECONDS_MAX 2.0
#define MIB_MAX 64.0

static const char *const names[] = {"heap",      "allocs",     "since_mark",   "peak",
                                    "lifetimes", "delta_heap", "fragmentation"};

typedef int write_fn(const char *name, int fd, int debug);

static double now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / NANOS_PER_SECOND;
}

/* ---- stacks ---- */

static void *left(unsigned path, int depth, size_t size);
static void *right(unsigned path, int depth, size_t size);

/* Two different functions without tail calls, so that each path is a stack of its own. */
#define STEP(name)                                                                                           \
  static __attribute__((noinline)) void *name(unsigned path, int depth, size_t size) {                       \
    void *block;                                                                                             \
    if (depth == 0)                                                                                          \
      block = malloc(size);                                                                                  \
    else if (path % 2 == 0)                                                                                  \
      block = left(path / 2, depth - 1, size);                                                               \
    else                                                                                                     \
      block = right(path / 2, depth - 1, size);                                                              \
    __asm__ volatile("# " #name : "+r"(block));                                                              \
    return block;                                                                                            \
  }

STEP(left)
STEP(right)

/* Samples that stay, and for each stack one that does not. */
static void make_samples(unsigned stacks, unsigned samples, unsigned ages) {
  unsigned made = 0;
  for (unsigned age = 0; age < ages; age++) {
    const struct timespec more_than_a_second = {1, 100000000};
    if (age != 0)
      nanosleep(&more_than_a_second, NULL);
    for (unsigned end = (unsigned)((uint64_t)samples * (age + 1) / ages); made < end; made++)
      *(volatile char *)left(made % stacks, LEVELS, 40 + made % 7) = 1;
  }
  for (unsigned i = 0; i < stacks; i++)
    free(left(i, LEVELS, 48));
}

/* ---- other threads ---- */

static atomic_bool is_over;
static pthread_t threads[THREADS];

/* The longest calls, in seconds. */
static struct worst {
  _Atomic double wall; /* of any */
  _Atomic double wait; /* that gave up the processor */
  _Atomic double busy; /* processor time */
} worst;

static void raise(_Atomic double *highest, double value) {
  double known = atomic_load(highest);
  while (known < value && !atomic_compare_exchange_weak(highest, &known, value)) {
  }
}

static long waits(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

static void *churn(void *arg) {
  static const size_t sizes[] = {16, 48, 200, 3000, 40000, 300000};
  void *blocks[256] = {NULL};
  uint32_t random = 12345u + (uint32_t)(uintptr_t)arg;
  while (!atomic_load(&is_over)) {
    random = random * 1664525u + 1013904223u;
    void **block = &blocks[random >> 24];
    long waits_before = waits();
    double busy = now(CLOCK_THREAD_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
    free(*block);
    *block = malloc(sizes[(random >> 8) % 6]);
    wall = now(CLOCK_MONOTONIC) - wall;
    busy = now(CLOCK_THREAD_CPUTIME_ID) - busy;
    raise(&worst.wall, wall);
    raise(&worst.busy, busy);
    if (waits() != waits_before)
      raise(&worst.wait, wall);
  }
  for (unsigned i = 0; i < 256; i++)
    free(blocks[i]);
  return NULL;
}

/* ---- measuring ---- */

static void clear_peak(void) {
  int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "5", 1) != 1)
    abort();
  close(fd);
}

/* A line of /proc/self/status, in MiB. */
static double status(const char *name) {
  char text[4096] = "";
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  const char *line = size > 0 ? strstr(text, name) : NULL;
  return line != NULL ? (double)strtol(line + strlen(name), NULL, 10) / 1024 : 0;
}

static void forget_worst(void) {
  atomic_store(&worst.wall, 0);
  atomic_store(&worst.wait, 0);
  atomic_store(&worst.busy, 0);
}

static void print_worst(void) {
  printf("longest call %.3f ms, waiting %.3f ms, busy %.3f ms\n", worst.wall * MILLIS, worst.wait * MILLIS,
         worst.busy * MILLIS);
}

/* As long as a profile takes, but without one. */
static void measure_nothing(void) {
  const double seconds = 0.5;
  forget_worst();
  for (double start = now(CLOCK_THREAD_CPUTIME_ID); now(CLOCK_THREAD_CPUTIME_ID) - start < seconds;) {
  }
  printf("%-13s other threads: ", "no profile");
  print_worst();
}

static bool measure(write_fn *write_profile, const char *name, int debug) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  forget_worst();
  double resident = status("VmRSS:");
  clear_peak();
  double cpu = now(CLOCK_THREAD_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
  int error = write_profile(name, fd, debug);
  wall = now(CLOCK_MONOTONIC) - wall;
  cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
  double size = (double)lseek(fd, 0, SEEK_END) / MIB;
  double extra = status("VmHWM:") - resident;
  printf("%-13s debug %d: %s%.3f s (%.3f s of processor), %.1f MiB more, file %.2f MiB; other threads: ",
         name, debug, error != 0 ? strerror(-error) : "", wall, cpu, extra, size);
  print_worst();
  close(fd);
  return error == 0 && (debug != 0 || (cpu <= SECONDS_MAX && extra - size <= MIB_MAX));
}

/* The rows of the text form. */
static unsigned count_rows(write_fn *write_profile) {
  int fd = memfd_create("rows", MFD_CLOEXEC);
  if (write_profile("heap", fd, 1) != 0)
    return 0;
  size_t size = (size_t)lseek(fd, 0, SEEK_END);
  const char *text = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  unsigned rows = 0;
  for (size_t i = 0; text != MAP_FAILED && i + 3 < size; i++)
    rows += memcmp(text + i, "] @ ", 4) == 0;
  munmap((void *)(uintptr_t)text, size);
  close(fd);
  return rows;
}

static unsigned number(char **argv, int argc, int index, unsigned otherwise) {
  return argc > index ? (unsigned)strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
  write_fn *write_profile;
  *(void **)&write_profile = dlsym(RTLD_DEFAULT, "hp_write_profile");
  if (write_profile == NULL) {
    fputs("FAIL scale: halloc is not in this process\n", stdout);
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  unsigned stacks = number(argv, argc, 1, 2000), samples = number(argv, argc, 2, 20000);
  unsigned ages = number(argv, argc, 3, 1);
  double start = now(CLOCK_MONOTONIC);
  make_samples(stacks, samples, ages);
  printf("%u stacks, %u live samples, %u ages: made in %.2f s, resident %.1f MiB\n", stacks, samples, ages,
         now(CLOCK_MONOTONIC) - start, status("VmRSS:"));
  for (uintptr_t i = 0; i < THREADS; i++)
    pthread_create(&threads[i], NULL, churn, (void *)i);
  bool is_good = true;
  measure_nothing();
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
    is_good &= measure(write_profile, names[i], 0);
  is_good &= measure(write_profile, "heap", 1);
  atomic_store(&is_over, true);
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  unsigned rows = count_rows(write_profile);
  if (rows < stacks)
    printf("FAIL scale: %u rows of %u stacks\n", rows, stacks);
  puts(is_good ? "ok scale" : "FAIL scale: more than 2 s or 64 MiB");
  return is_good && rows >= stacks ? 0 : 1;
}
