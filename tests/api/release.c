/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a server that had one busy hour and holds the memory of it for a month; or
 * the opposite, a server that gives back and faults in the same memory with every request.
 *
 * Whether memory is back with the kernel is asked of the kernel (mincore, smaps_rollup), never of halloc. The
 * process is idle meanwhile: it sleeps between two looks and allocates nothing. TEST_RELEASE_MIB=1024 takes 1
 * GiB instead of 128 MiB.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/api/hp.h"
#include "tests/api/kernel.h"
#include "tests/api/limit.h"

#define SEED 20261123
#define MIB ((size_t)1 << 20)
#define DEFAULT_MIB 128
#define BLOCK_SIZE 1024
#define KEPT_OF 20 /* one in so many blocks stays */
#define PATIENCE_MS 10000
#define LOOK_EVERY_MS 20
#define PAGES_BACK_PERCENT 95
#define RSS_BACK_PERCENT 98
#define THREADS 4
#define SPAN_MAX ((size_t)1 << 36) /* from the lowest to the highest block */

/* Memory of the test itself, resident from the start. */
static void *map(size_t size) {
  void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  CHECK(start != MAP_FAILED, "no memory for the test");
  return start;
}

/* ---- The blocks ---- */

static char **blocks;
static size_t block_count; /* those in use come first */
static size_t total_count;

static void prepare(void) {
  const char *text = getenv("TEST_RELEASE_MIB");
  size_t mib = text != NULL ? strtoul(text, NULL, 10) : DEFAULT_MIB;
  total_count = mib * MIB / BLOCK_SIZE / THREADS * THREADS;
  CHECK(total_count > 0, "TEST_RELEASE_MIB=%s", text);
  blocks = map(total_count * sizeof *blocks);
  free(malloc(BLOCK_SIZE));
  test_note("seed %d, %zu blocks of %d bytes", SEED, total_count, BLOCK_SIZE);
}

static void fill(size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    blocks[i] = malloc(BLOCK_SIZE);
    CHECK(blocks[i] != NULL, "no memory");
    memset(blocks[i], (int)((uintptr_t)blocks[i] >> 10), BLOCK_SIZE);
  }
}

/* In random order, so that the ones freed lie anywhere, and so do neighbours on the lists of free blocks. */
static void shuffle(void) {
  uint64_t random = SEED;
  for (size_t i = total_count; i-- > 1;) {
    size_t other = test_random(&random) % (i + 1);
    char *block = blocks[i];
    blocks[i] = blocks[other];
    blocks[other] = block;
  }
}

static void free_down_to(size_t count) {
  while (block_count > count) {
    free(blocks[--block_count]);
  }
}

static void check_content(void) {
  for (size_t i = 0; i < block_count; i++) {
    char mark = (char)((uintptr_t)blocks[i] >> 10);
    CHECK(blocks[i][0] == mark && memcmp(blocks[i], blocks[i] + 1, BLOCK_SIZE - 1) == 0,
          "block %p has changed though it is in use", (void *)blocks[i]);
  }
}

/* ---- Their OS pages ---- */

#define USED 1 /* a block lay there */
#define HELD 2 /* a block lies there */

static char *low; /* OS page of the lowest block */
static size_t os_pages;
static unsigned char *states, *residency;

static void mark(size_t count, unsigned char state) {
  for (size_t i = 0; i < count; i++) {
    size_t first = (size_t)(blocks[i] - low) / KERNEL_PAGE;
    size_t last = (size_t)(blocks[i] + BLOCK_SIZE - 1 - low) / KERNEL_PAGE;
    states[first] |= state;
    states[last] |= state;
  }
}

/* Before the first block is freed. Returns the bytes it made resident for itself. */
static size_t find_os_pages(void) {
  char *high = blocks[0];
  low = blocks[0];
  for (size_t i = 0; i < total_count; i++) {
    low = blocks[i] < low ? blocks[i] : low;
    high = blocks[i] > high ? blocks[i] : high;
  }
  low -= (uintptr_t)low % KERNEL_PAGE;
  size_t size = (size_t)(high + BLOCK_SIZE - low);
  CHECK(size < SPAN_MAX, "the blocks are %zu MiB apart", size / MIB);
  os_pages = (size + KERNEL_PAGE - 1) / KERNEL_PAGE;
  states = map(os_pages);
  residency = map(os_pages);
  mark(total_count, USED);
  return 2 * os_pages;
}

struct tally {
  size_t wholly_free, back; /* OS pages without a block in use, and those of them that are not resident */
  size_t held, lost;        /* OS pages with one, and not resident: impossible */
};

static struct tally tally(void) {
  struct tally sum = {0};
  kernel_residency(low, os_pages, residency);
  for (size_t i = 0; i < os_pages; i++) {
    bool is_held = (states[i] & HELD) != 0;
    sum.held += is_held;
    sum.lost += is_held && !residency[i];
    sum.wholly_free += states[i] == USED;
    sum.back += states[i] == USED && !residency[i];
  }
  return sum;
}

static double percent(size_t part, size_t whole) {
  return whole == 0 ? 100 : 100.0 * (double)part / (double)whole;
}

/* ---- Waiting, with nothing else going on ---- */

/* Looks until `is_done` or the time is over; returns the milliseconds. */
static uint64_t wait_until(bool (*is_done)(void), unsigned patience_ms) {
  uint64_t begin = kernel_now();
  uint64_t waited_ms = 0;
  while (!is_done() && (waited_ms = (kernel_now() - begin) / 1000000) < patience_ms) {
    nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL);
  }
  return waited_ms;
}

static bool pages_are_back(void) {
  struct tally now = tally();
  return percent(now.back, now.wholly_free) >= PAGES_BACK_PERCENT;
}

static size_t rss_start, rss_peak;

static double rss_back(void) {
  size_t now = kernel_resident();
  return now >= rss_peak ? 0 : percent(rss_peak - now, rss_peak - rss_start);
}

static bool rss_is_back(void) {
  return rss_back() >= RSS_BACK_PERCENT;
}

/* ---- One in twenty blocks stays, then none ---- */

static void check_pages(unsigned patience_ms) {
  mark(block_count, HELD);
  uint64_t waited = wait_until(pages_are_back, patience_ms);
  struct tally now = tally();
  struct hp_memstats stats = hp_stats();
  test_note(
      "%zu of %zu blocks in use: of %zu wholly free OS pages (%.1f %%) %zu are back (%.1f %%) after %lu ms; "
      "RSS above the start %zu KiB, at the peak %zu; HeapSys - HeapReleased %lu KiB, HeapInuse %lu KiB",
      block_count, total_count, now.wholly_free, percent(now.wholly_free, now.wholly_free + now.held),
      now.back, percent(now.back, now.wholly_free), (unsigned long)waited,
      (kernel_resident() - rss_start) / 1024, (rss_peak - rss_start) / 1024,
      (unsigned long)hp_backed(&stats) / 1024, (unsigned long)stats.HeapInuse / 1024);
  CHECK_EQ(now.lost, (size_t)0);
  check_content();
  CHECK(pages_are_back(), "%.1f %% of the wholly free OS pages are back with the kernel, not %d %%",
        percent(now.back, now.wholly_free), PAGES_BACK_PERCENT);
}

static void check_rss(unsigned patience_ms) {
  uint64_t waited = wait_until(rss_is_back, patience_ms);
  double back = rss_back();
  test_note("all freed: %.2f %% of the RSS above the start is back after %lu ms; still %ld KiB above it",
            back, (unsigned long)waited, ((long)kernel_resident() - (long)rss_start) / 1024);
  CHECK(back >= RSS_BACK_PERCENT, "%.2f %% of the RSS above the start is back, not %d %%", back,
        RSS_BACK_PERCENT);
}

/* The blocks are there. Part one and two; `nudge` is called before each look, if there is one. */
static void thin_out_and_check(void (*nudge)(void), unsigned patience_ms) {
  rss_start += find_os_pages();
  rss_peak = kernel_resident();
  block_count = total_count;
  shuffle();
  free_down_to(total_count / KEPT_OF);
  if (nudge != NULL) {
    nudge();
  }
  check_pages(patience_ms);
  free_down_to(0);
  if (nudge != NULL) {
    nudge();
  }
  check_rss(patience_ms);
}

static void ask(void) {
  uint64_t begin = kernel_now();
  CHECK(hp_free_os(), "hp_free_os_memory is not in this process");
  test_note("hp_free_os_memory took %.1f ms", (double)(kernel_now() - begin) / 1e6);
}

TEST_WITHIN(90, an_idle_process_gives_back_its_free_os_pages) {
  prepare();
  rss_start = kernel_resident();
  fill(0, total_count);
  thin_out_and_check(NULL, PATIENCE_MS);
}

TEST_WITHIN(90, hp_free_os_memory_gives_back_at_once) {
  prepare();
  rss_start = kernel_resident();
  fill(0, total_count);
  thin_out_and_check(ask, 0);
}

/* Blocks of threads that are alive and do nothing, freed by the main thread. */
static pthread_barrier_t gate;

static void *fill_and_park(void *arg) {
  size_t part = (size_t)arg;
  pthread_barrier_wait(&gate);
  fill(total_count / THREADS * part, total_count / THREADS * (part + 1));
  pthread_barrier_wait(&gate);
  pthread_barrier_wait(&gate);
  return NULL;
}

static void check_parked(void (*nudge)(void), unsigned patience_ms) {
  pthread_t threads[THREADS];
  prepare();
  pthread_barrier_init(&gate, NULL, THREADS + 1);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, fill_and_park, (void *)i), 0);
  }
  rss_start = kernel_resident();
  pthread_barrier_wait(&gate);
  pthread_barrier_wait(&gate);
  thin_out_and_check(nudge, patience_ms);
  pthread_barrier_wait(&gate);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

TEST_WITHIN(90, pages_of_parked_threads_are_given_back) {
  check_parked(NULL, PATIENCE_MS);
}

TEST_WITHIN(90, hp_free_os_memory_gives_back_pages_of_parked_threads) {
  check_parked(ask, 0);
}

/* ---- Steady load ---- */

#define SWING (64 * MIB)
#define CYCLES 200
#define WARM_CYCLES 10
#define CALLS_PER_CYCLE 1  /* of madvise: giving back 64 MiB in one piece each time would be as many */
#define FAULTED_PERCENT 10 /* of what the cycles touch */
#define SIZE_DOUBLINGS 12  /* 16 B to 64 KiB */
#define LOW_MS 20          /* with all of it idle, time enough for a background thread to see it */

static unsigned long madvise_calls;

/* Counts every madvise of the process and lets it pass. Neither allocates nor calls madvise itself, since
 * whoever does waits for this thread, possibly with a lock of halloc held. */
static void *count_madvise(void *arg) {
  int listener = *(int *)arg;
  union {
    struct seccomp_notif notification;
    struct seccomp_notif_resp response;
    char room[1024]; /* later kernels may write more */
  } call, answer;
  memset(&call, 0, sizeof call);
  while (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0 || errno == EINTR || errno == ENOENT) {
    if (call.notification.id != 0) {
      __atomic_add_fetch(&madvise_calls, 1, __ATOMIC_RELAXED);
      memset(&answer, 0, sizeof answer);
      answer.response.id = call.notification.id;
      answer.response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
      ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    memset(&call, 0, sizeof call);
  }
  return NULL;
}

static bool watch_madvise(void) {
  static int listener;
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                          SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
                              SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
                          &program);
  pthread_t thread;
  return listener >= 0 && pthread_create(&thread, NULL, count_madvise, &listener) == 0;
}

static void swing(uint64_t *random) {
  size_t bytes = 0;
  block_count = 0;
  while (bytes < SWING) {
    size_t size = (size_t)16 << test_random(random) % (SIZE_DOUBLINGS + 1);
    blocks[block_count] = malloc(size);
    CHECK(blocks[block_count] != NULL, "no memory");
    memset(blocks[block_count++], 1, size);
    bytes += size;
  }
  free_down_to(0);
  nanosleep(&(struct timespec){.tv_nsec = LOW_MS * 1000000L}, NULL);
}

TEST_WITHIN(120, steady_oscillation_causes_few_madvise_calls) {
  blocks = map(SWING / 16 * sizeof *blocks);
  uint64_t random = SEED;
  bool is_watched = watch_madvise();
  for (int i = 0; i < WARM_CYCLES; i++) {
    swing(&random);
  }
  struct hp_memstats stats = hp_stats();
  uint64_t released_before, released_after;
  bool has_released = hp_released_total(&stats, &released_before);
  unsigned long calls_before = __atomic_load_n(&madvise_calls, __ATOMIC_RELAXED);
  uint64_t faults_before = kernel_faults();
  uint64_t begin = kernel_now();
  for (int i = 0; i < CYCLES; i++) {
    swing(&random);
  }
  uint64_t faulted = (kernel_faults() - faults_before) * KERNEL_PAGE;
  unsigned long calls = __atomic_load_n(&madvise_calls, __ATOMIC_RELAXED) - calls_before;
  stats = hp_stats();
  hp_released_total(&stats, &released_after);
  test_note("seed %d: %d times %zu MiB up and down in %.1f s: %lu calls of madvise%s, %lu MiB faulted in "
            "again (%.1f %%)",
            SEED, CYCLES, SWING / MIB, (double)(kernel_now() - begin) / 1e9, calls,
            is_watched ? "" : " (not counted: no seccomp here)", (unsigned long)(faulted / MIB),
            percent(faulted, CYCLES * SWING));
  if (has_released) {
    uint64_t released = released_after - released_before;
    test_note("the statistics say %lu MiB were released", (unsigned long)(released / MIB));
    CHECK(released * 100 <= CYCLES * SWING * FAULTED_PERCENT, "%lu MiB were released",
          (unsigned long)(released / MIB));
  }
  CHECK(calls <= CYCLES * CALLS_PER_CYCLE, "%lu calls of madvise in %d cycles", calls, CYCLES);
  CHECK(faulted * 100 <= CYCLES * SWING * FAULTED_PERCENT,
        "%lu MiB were faulted in again, of %zu MiB touched", (unsigned long)(faulted / MIB),
        CYCLES * SWING / MIB);
}
