/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a cache that is never told to shrink, or told a thousand times a second, or
 * told by numbers that are not true; a program that hangs because its function allocates.
 *
 * The time is given by hand.
 */
#include "alloc/pressure.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/limit.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/config.h"
#include "halloc.h"
#include "tests/test.h"

#define START (1000 * HA_SECOND)
#define MILLISECOND (HA_SECOND / 1000)
#define FUNCTIONS 8
#define MIB ((size_t)1 << 20)

/* So that the rest of this program, which calls the functions under test, does not pass for halloc: see unwind.c. */
__attribute__((section("halloc_text"), used, noinline)) static void stand_in_for_halloc(void) {
  __asm__ volatile("");
}

/* What a function was told, and how often. */
struct told {
  unsigned calls;
  struct hp_pressure last;
};

static void remember(const struct hp_pressure *pressure, void *arg) {
  struct told *told = arg;
  told->calls++;
  told->last = *pressure;
}

static void check_told(const struct told *told, unsigned calls, int level, uint64_t limit, uint64_t quantity,
                       uint64_t over) {
  CHECK_EQ(told->calls, calls);
  CHECK_EQ(told->last.level, level);
  CHECK_EQ(told->last.limit, limit);
  CHECK_EQ(told->last.quantity, quantity);
  CHECK_EQ(told->last.bytes_over, over);
}

static void listen_with(struct told *told) {
  CHECK_EQ(hp_on_memory_pressure(remember, told), 0);
}

TEST(both_levels_are_told_with_their_numbers) {
  struct told told = {0};
  listen_with(&told);
  ha_pressure_deliver(START);
  CHECK_EQ(told.calls, 0u);
  ha_pressure_note(1, 1000, 990);
  CHECK_EQ(told.calls, 0u); /* noting tells nobody: locks may be held */
  ha_pressure_deliver(START);
  check_told(&told, 1, 1, 1000, 990, 0);
  ha_pressure_note(2, 1000, 1300);
  ha_pressure_deliver(START);
  check_told(&told, 2, 2, 1000, 1300, 300);
  ha_pressure_deliver(START + 100 * HA_SECOND);
  CHECK_EQ(told.calls, 2u); /* old news */
}

/* Memory was freed, or the limit raised, between the look and the note. */
TEST(nothing_over_is_not_a_huge_number) {
  struct told told = {0};
  listen_with(&told);
  ha_pressure_note(2, 1000, 900);
  ha_pressure_note(1, 1000, 1100);
  ha_pressure_deliver(START);
  check_told(&told, 2, 2, 1000, 900, 0);
  ha_pressure_note(1, 1000, 1100);
  ha_pressure_deliver(START + HA_SECOND);
  check_told(&told, 3, 1, 1000, 1100, 0);
}

TEST(a_level_is_told_at_most_once_a_second_and_then_with_the_latest_numbers) {
  struct told told = {0};
  listen_with(&told);
  for (int level = 1; level <= 2; level++) {
    told.calls = 0;
    uint64_t now = START * (uint64_t)level;
    for (uint64_t ms = 0; ms < 5000; ms++) {
      ha_pressure_note(level, 1000, 1000 + ms);
      ha_pressure_deliver(now + ms * MILLISECOND);
      CHECK_EQ(told.calls, (unsigned)(ms / 1000 + 1));
      CHECK_EQ(told.last.quantity, 1000 + ms / 1000 * 1000);
    }
    ha_pressure_deliver(now + 6 * HA_SECOND);
    check_told(&told, 6, level, 1000, 5999, level == 2 ? 4999 : 0);
  }
}

/* Times come from clocks of different grain, and threads are late with theirs. */
TEST(a_time_before_the_last_one_tells_nobody) {
  struct told told = {0};
  listen_with(&told);
  ha_pressure_note(2, 1000, 1300);
  ha_pressure_deliver(START);
  ha_pressure_note(2, 1000, 1300);
  ha_pressure_deliver(START - MILLISECOND);
  CHECK_EQ(told.calls, 1u);
  ha_pressure_deliver(START + HA_SECOND);
  CHECK_EQ(told.calls, 2u);
}

TEST(one_level_does_not_keep_the_other_waiting) {
  struct told told = {0};
  listen_with(&told);
  ha_pressure_note(1, 1000, 990);
  ha_pressure_deliver(START);
  ha_pressure_note(2, 1000, 1010);
  ha_pressure_deliver(START + 1);
  check_told(&told, 2, 2, 1000, 1010, 10);
  ha_pressure_note(1, 1000, 991);
  ha_pressure_note(2, 1000, 1011);
  ha_pressure_deliver(START + HA_SECOND);
  check_told(&told, 3, 1, 1000, 991, 0);
  ha_pressure_deliver(START + HA_SECOND + 1);
  check_told(&told, 4, 2, 1000, 1011, 11);
}

/* ---- Who is told ---- */

static void press(uint64_t now) {
  ha_pressure_note(2, 1000, 2000);
  ha_pressure_deliver(now);
}

static void remember_also(const struct hp_pressure *pressure, void *arg) {
  remember(pressure, arg);
}

TEST(eight_pairs_can_be_registered_and_a_ninth_cannot) {
  struct told told[FUNCTIONS + 1] = {{0}};
  for (int i = 0; i < FUNCTIONS; i++) {
    CHECK_EQ(hp_on_memory_pressure(i % 2 == 0 ? remember : remember_also, &told[i / 2]), 0);
  }
  CHECK_EQ(hp_on_memory_pressure(remember, &told[FUNCTIONS]), -ENOMEM);
  CHECK_EQ(hp_on_memory_pressure(remember, &told[0]), 0); /* is there already */
  press(START);
  for (int i = 0; i < FUNCTIONS / 2; i++) {
    CHECK_EQ(told[i].calls, 2u);
  }
  CHECK_EQ(told[FUNCTIONS].calls, 0u);
}

TEST(a_pair_registered_twice_is_called_once) {
  struct told told = {0};
  for (int i = 0; i < 100; i++) {
    listen_with(&told);
  }
  press(START);
  CHECK_EQ(told.calls, 1u);
}

TEST(who_was_removed_is_not_called_until_registered_again) {
  struct told told[FUNCTIONS + 1] = {{0}};
  for (int i = 0; i < FUNCTIONS; i++) {
    listen_with(&told[i]);
  }
  CHECK_EQ(hp_on_memory_pressure(NULL, NULL), 0);
  press(START);
  listen_with(&told[5]);
  press(START + HA_SECOND);
  for (int i = 0; i < FUNCTIONS; i++) {
    CHECK_EQ(told[i].calls, i == 5 ? 1u : 0u);
  }
  CHECK_EQ(hp_on_memory_pressure(remember, &told[FUNCTIONS]), -ENOMEM); /* eight pairs were known before */
}

/* ---- What a function may do ---- */

static struct told added, counted;

static void use_everything(const struct hp_pressure *pressure, void *arg) {
  remember(pressure, arg);
  void *block = malloc(1000);
  CHECK(block != NULL, "no memory");
  free(block);
  listen_with(&added);
  ha_pressure_note(2, 1, 3); /* as an allocation may */
  ha_pressure_deliver(START + 10 * HA_SECOND);
  CHECK_EQ(counted.calls, ((struct told *)arg)->calls - 1); /* not told from inside */
}

TEST(a_function_may_allocate_and_register_others) {
  struct told told = {0};
  CHECK_EQ(hp_on_memory_pressure(use_everything, &told), 0);
  listen_with(&counted);
  press(START);
  CHECK_EQ(told.calls, 1u);
  CHECK_EQ(counted.calls, 1u);
  ha_pressure_deliver(START + 20 * HA_SECOND); /* what it noted itself */
  check_told(&told, 2, 2, 1, 3, 2);
  CHECK(added.calls >= 1, "who was registered by a function is not told");
}

static void remove_everybody(const struct hp_pressure *pressure, void *arg) {
  remember(pressure, arg);
  hp_on_memory_pressure(NULL, NULL);
}

TEST(a_function_may_remove_all) {
  struct told told = {0};
  CHECK_EQ(hp_on_memory_pressure(remove_everybody, &told), 0);
  listen_with(&counted);
  press(START);
  press(START + HA_SECOND);
  CHECK_EQ(told.calls, 1u);
  CHECK_EQ(counted.calls, 0u);
}

/* ---- The report ---- */

static unsigned reports;
static uint64_t reported_limit, reported_quantity;

static void report(uint64_t limit, uint64_t quantity) {
  reports++;
  reported_limit = limit;
  reported_quantity = quantity;
}

TEST(an_exceeded_limit_is_reported_once_a_minute) {
  ha_pressure_report_with(report);
  ha_pressure_note(1, 1000, 1000);
  ha_pressure_deliver(START);
  CHECK_EQ(reports, 0u);
  for (uint64_t second = 0; second < 180; second++) {
    ha_pressure_note(2, 1000, 2000 + second);
    ha_pressure_deliver(START + second * HA_SECOND);
    CHECK_EQ(reports, (unsigned)(second / 60 + 1));
    CHECK_EQ(reported_limit, (uint64_t)1000);
    CHECK_EQ(reported_quantity, 2000 + second / 60 * 60);
  }
}

/* ---- Threads ---- */

#define THREADS 4
#define STEPS 40000 /* milliseconds */

static uint64_t clock_ms;  /* atomic */
static unsigned inside;    /* atomic */
static unsigned all_calls; /* atomic */

static void be_alone(const struct hp_pressure *pressure, void *arg) {
  CHECK_EQ(__atomic_add_fetch(&inside, 1, __ATOMIC_ACQ_REL), 1u);
  CHECK(pressure->level == 1 || pressure->bytes_over == pressure->quantity - pressure->limit,
        "the numbers do not belong together");
  __atomic_add_fetch(&all_calls, 1, __ATOMIC_ACQ_REL);
  __atomic_sub_fetch(&inside, 1, __ATOMIC_ACQ_REL);
  (void)arg;
}

static void *note_and_deliver(void *arg) {
  for (;;) {
    uint64_t ms = __atomic_fetch_add(&clock_ms, 1, __ATOMIC_ACQ_REL);
    if (ms >= STEPS) {
      return arg;
    }
    ha_pressure_note(1 + (int)(ms % 2), 1000, 1000 + ms);
    ha_pressure_deliver(START + ms * MILLISECOND);
  }
}

TEST(one_thread_at_a_time_tells) {
  pthread_t threads[THREADS];
  CHECK_EQ(hp_on_memory_pressure(be_alone, NULL), 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, note_and_deliver, NULL);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  test_note("%u calls in %d seconds", all_calls, STEPS / 1000);
  /* Loose bounds: the clock runs on while a thread that delivers waits for a processor, and others come late.
   * */
  CHECK(all_calls >= 2 && all_calls <= STEPS / 20, "%u calls", all_calls);
}

static void *register_one(void *arg) {
  CHECK_EQ(hp_on_memory_pressure(remember, arg), 0);
  return NULL;
}

TEST(threads_register_at_once) {
  static struct told told[FUNCTIONS];
  pthread_t threads[FUNCTIONS];
  for (int i = 0; i < FUNCTIONS; i++) {
    pthread_create(&threads[i], NULL, register_one, &told[i]);
  }
  for (int i = 0; i < FUNCTIONS; i++) {
    pthread_join(threads[i], NULL);
  }
  press(START);
  for (int i = 0; i < FUNCTIONS; i++) {
    CHECK_EQ(told[i].calls, 1u);
  }
}

/* Threads that spin until both are there, so that they meet in the same slot. */
static int arrived; /* atomic */

static void *register_same(void *arg) {
  struct told *pair = arg;
  for (int i = 0; i < FUNCTIONS; i++) {
    __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < 2 * (i + 1)) {
    }
    CHECK_EQ(hp_on_memory_pressure(remember, &pair[i]), 0);
  }
  return NULL;
}

#define SAME_ROUNDS 200

/* In a process of its own, where all slots are unused. */
static void register_same_in_child(void) {
  static struct told told[FUNCTIONS];
  pthread_t thread;
  pthread_create(&thread, NULL, register_same, told);
  register_same(told);
  pthread_join(thread, NULL);
  press(START);
  for (int i = 0; i < FUNCTIONS; i++) {
    CHECK_EQ(told[i].calls, 1u);
  }
}

TEST_WITHIN(120, two_threads_that_register_the_same_have_it_called_once) {
  for (int round = 0; round < SAME_ROUNDS; round++) {
    pid_t child = fork();
    if (child == 0) {
      register_same_in_child();
      _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d failed", round);
  }
}

/* ---- Through malloc, without a background thread ---- */

static void allocate_more(const struct hp_pressure *pressure, void *arg) {
  remember(pressure, arg);
  void *blocks[100];
  for (size_t i = 0; i < 100; i++) {
    blocks[i] = malloc(i * 1000);
    CHECK(blocks[i] != NULL, "no memory");
  }
  for (size_t i = 0; i < 100; i++) {
    free(blocks[i]);
  }
}

TEST(the_thread_that_exceeds_the_limit_tells_in_its_malloc) {
  struct told told = {0};
  ha_config.background = HA_BACKGROUND_OFF;
  CHECK_EQ(hp_on_memory_pressure(allocate_more, &told), 0);
  uint64_t began = ha_clock_monotonic();
  uint64_t limit = ha_limit_quantity() + MIB;
  hp_set_memory_limit((int64_t)limit);
  CHECK_EQ(told.calls, 0u);
  for (int i = 0; i < 100; i++) {
    CHECK(malloc(MIB) != NULL, "no memory");
  }
  uint64_t seconds = (ha_clock_monotonic() - began) / HA_SECOND;
  CHECK(told.calls >= 1 && told.calls <= seconds + 1, "told %u times in %lu seconds", told.calls,
        seconds + 1);
  CHECK_EQ(told.last.level, 2);
  CHECK_EQ(told.last.limit, limit);
  CHECK_EQ(told.last.bytes_over, told.last.quantity - limit);
}

static void change_errno(const struct hp_pressure *pressure, void *arg) {
  remember(pressure, arg);
  errno = EBADF;
}

TEST(free_keeps_errno_whatever_is_called_in_it) {
  static void *blocks[1000];
  struct told told = {0};
  ha_config.background = HA_BACKGROUND_OFF;
  CHECK_EQ(hp_on_memory_pressure(change_errno, &told), 0);
  for (size_t i = 0; i < HA_ARRAY_LEN(blocks); i++) {
    blocks[i] = malloc(1000);
  }
  hp_set_memory_limit(1);
  CHECK_EQ(told.calls, 0u);
  for (size_t i = 0; i < HA_ARRAY_LEN(blocks); i++) {
    errno = 0;
    free(blocks[i]);
    CHECK_EQ(errno, 0);
  }
  CHECK(told.calls > 0, "nobody was told");
}

TEST(a_limit_that_was_kept_is_told_as_such) {
  struct told told = {0};
  ha_config.background = HA_BACKGROUND_OFF;
  CHECK_EQ(hp_on_memory_pressure(remember, &told), 0);
  char *block = malloc(30 * MIB);
  memset(block, 1, 30 * MIB);
  char *last = malloc(10 * MIB);
  memset(last, 1, 10 * MIB);
  free(block);
  free(last);
  uint64_t limit = ha_limit_quantity() + MIB;
  hp_set_memory_limit((int64_t)limit);
  CHECK(malloc(34 * MIB) != NULL, "no memory"); /* a mapping of its own, for which idle memory must go */
  check_told(&told, 1, 1, limit, told.last.quantity, 0);
  CHECK(told.last.quantity <= limit, "%lu of %lu pass for kept", told.last.quantity, limit);
}
