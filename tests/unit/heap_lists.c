/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: memory that a sleeping thread keeps although all of it is free; a page that is
 * taken while its owner still has blocks in it, or comes back to it in that moment.
 *
 * A thread (the owner) fills pages and frees a few blocks of each, so that they lie on its lists of pages with
 * room. The test's thread frees the others.
 */
#include "alloc/heap_lists.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alloc/page_map.h"
#include "alloc/remote.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/random.h"
#include "tests/unit/at_rest.h"

#define SEED 20261121
#define SIZE 1000
#define PER_PAGE (HA_SLICE / 1024)
#define PAGES 300
#define COUNT (PAGES * PER_PAGE)
#define OWNERS_FREES 2 /* of each page */

static char *blocks[COUNT];
static struct ha_heap *owner;
static pthread_barrier_t gate;

static void meet(void) {
  pthread_barrier_wait(&gate);
}

static void new_block(size_t i) {
  blocks[i] = malloc(SIZE);
  CHECK(blocks[i] != NULL, "no memory");
  memset(blocks[i], (int)(i % 251), SIZE);
}

static void free_block(size_t i) {
  if (blocks[i] == NULL) {
    return;
  }
  for (size_t at = 0; at < SIZE; at++) {
    CHECK(blocks[i][at] == (char)(i % 251), "block %zu in use has changed at byte %zu", i, at);
  }
  free(blocks[i]);
  blocks[i] = NULL;
}

static void fill_and_free_some(void) {
  owner = ha_heap_of_thread();
  for (size_t i = 0; i < COUNT; i++) {
    new_block(i);
  }
  for (size_t i = 0; i < COUNT; i++) {
    if (i % PER_PAGE < OWNERS_FREES) {
      free_block(i);
    }
  }
}

static void *in_thread_do(void *run) {
  free(malloc(1)); /* so that there is a heap */
  (*(void (**)(void))run)();
  return NULL;
}

static pthread_t start(void (**run)(void)) {
  pthread_t thread;
  pthread_barrier_init(&gate, NULL, 2);
  CHECK_EQ(pthread_create(&thread, NULL, in_thread_do, run), 0);
  meet();
  return thread;
}

static void free_all_but(size_t kept_in_page) {
  for (size_t i = 0; i < COUNT; i++) {
    if (i % PER_PAGE < PER_PAGE - kept_in_page) {
      free_block(i);
    }
  }
}

/* Besides what the owner keeps for itself. */
static size_t pages_in_use(const struct hp_memstats *before) {
  uint64_t now = at_rest().HeapInuse;
  return now > before->HeapInuse ? (now - before->HeapInuse) / HA_SLICE : 0;
}

static void wait_meanwhile(void) {
  fill_and_free_some();
  meet();
  meet();
}

#define KEPT_PAGES_MAX 4 /* the owner's current pages and the one it was filling */

TEST(a_waiting_thread_does_not_keep_pages_that_others_have_emptied) {
  struct hp_memstats before = begin();
  void (*run)(void) = wait_meanwhile;
  pthread_t thread = start(&run);
  free_all_but(0);
  CHECK(ha_heap_queued_bytes() >= (PAGES - KEPT_PAGES_MAX) * HA_SLICE, "only %lu bytes are known to lie idle",
        ha_heap_queued_bytes());
  ha_abandoned_take_from_idle(owner, false);
  ha_abandoned_take_from_idle(owner, false);
  CHECK(pages_in_use(&before) <= KEPT_PAGES_MAX, "%zu pages stay in use", pages_in_use(&before));
  meet();
  pthread_join(thread, NULL);
}

/* As many local frees that the wake is never reached: the pages are not queued, and are found by looking. */
static void free_half_and_wait(void) {
  fill_and_free_some();
  for (size_t i = 0; i < COUNT; i++) {
    if (i % PER_PAGE < PER_PAGE / 2) {
      free_block(i);
    }
  }
  meet();
  meet();
}

TEST(pages_that_nobody_told_of_are_found) {
  struct hp_memstats before = begin();
  void (*run)(void) = free_half_and_wait;
  pthread_t thread = start(&run);
  free_all_but(0);
  CHECK(ha_heap_queued_bytes() <= PAGES / 10 * HA_SLICE, "%lu bytes are queued", ha_heap_queued_bytes());
  ha_abandoned_take_from_idle(owner, true);
  CHECK(pages_in_use(&before) <= KEPT_PAGES_MAX, "%zu pages stay in use", pages_in_use(&before));
  meet();
  pthread_join(thread, NULL);
}

static size_t pages_of_owner(void) {
  size_t pages = 0;
  for (size_t i = PER_PAGE - 1; i < COUNT; i += PER_PAGE) {
    pages += blocks[i] != NULL && ha_load_relaxed(&ha_page_of(blocks[i])->heap) == owner;
  }
  return pages;
}

static void wait_and_free_rest(void) {
  fill_and_free_some();
  meet();
  meet();
  free_all_but(0);
}

TEST(a_page_with_a_block_in_use_stays) {
  struct hp_memstats before = begin();
  void (*run)(void) = wait_and_free_rest;
  pthread_t thread = start(&run);
  free_all_but(1);
  size_t pages = pages_of_owner();
  CHECK(pages >= PAGES - 1, "only %zu pages", pages);
  for (int i = 0; i < 3; i++) {
    ha_abandoned_take_from_idle(owner, true);
  }
  CHECK_EQ(pages_of_owner(), pages);
  meet();
  pthread_join(thread, NULL);
  CHECK(pages_in_use(&before) <= KEPT_PAGES_MAX, "%zu pages stay in use", pages_in_use(&before));
}

TEST(a_thread_that_never_looked_at_its_queue_is_not_idle_at_the_first_look) {
  begin();
  void (*run)(void) = wait_meanwhile;
  pthread_t thread = start(&run);
  free_all_but(0);
  uint64_t queued = ha_heap_queued_bytes();
  ha_abandoned_take_from_idle(owner, false);
  CHECK_EQ(ha_heap_queued_bytes(), queued);
  ha_abandoned_take_from_idle(owner, false);
  CHECK(ha_heap_queued_bytes() < queued, "the pages were left to a thread that does not look");
  meet();
  pthread_join(thread, NULL);
}

/* ---- The owner goes on ---- */

#define RACE_ROUNDS 40

static int is_done; /* atomic */

/* Half of each page in random order, with allocations in between, while the other half goes elsewhere. */
static void churn(void) {
  struct ha_random random;
  ha_random_seed(&random, SEED);
  fill_and_free_some();
  meet();
  for (size_t i = 0; i < COUNT; i++) {
    size_t at = ha_random_next(&random) % COUNT;
    if (at % 2 == 0) {
      free_block(at);
    }
    if (i % 3 == 0) {
      free(malloc(SIZE));
    }
  }
  for (size_t i = 0; i < COUNT; i += 2) {
    free_block(i);
  }
  ha_store_release(&is_done, 1);
  meet();
}

TEST_WITHIN(120, an_owner_at_work_and_a_thief_do_not_harm_each_other) {
  struct hp_memstats before = begin();
  void (*run)(void) = churn;
  for (int round = 0; round < RACE_ROUNDS; round++) {
    ha_store_release(&is_done, 0);
    pthread_t thread = start(&run);
    for (size_t i = 0; i < COUNT || !ha_load_acquire(&is_done); i++) {
      if (i < COUNT && i % 2 != 0) {
        free_block(i);
      }
      if (i % 64 == 0) {
        ha_abandoned_take_from_idle(owner, true);
      }
    }
    meet();
    pthread_join(thread, NULL);
    CHECK_EQ(at_rest().HeapAlloc, before.HeapAlloc);
  }
  CHECK(pages_in_use(&before) <= KEPT_PAGES_MAX, "%zu pages stay in use", pages_in_use(&before));
}

/* As many blocks of each page as its floor lie on its remote list, so that the owner's free that comes to the floor is
 * the last of all: the thief may have the page before the owner can look. */
#define FLOOR (PER_PAGE / 8)

static void free_last(void) {
  fill_and_free_some();
  meet();
  meet();
  free_all_but(FLOOR);
  ha_store_release(&is_done, 1);
  meet();
}

TEST_WITHIN(120, the_last_free_of_an_owner_meets_a_thief) {
  struct hp_memstats before = begin();
  void (*run)(void) = free_last;
  for (int round = 0; round < RACE_ROUNDS; round++) {
    ha_store_release(&is_done, 0);
    pthread_t thread = start(&run);
    for (size_t i = 0; i < COUNT; i++) {
      if (i % PER_PAGE >= PER_PAGE - FLOOR) {
        free_block(i);
      }
    }
    ha_outbox_flush(&ha_heap_of_thread()->outbox);
    meet();
    while (!ha_load_acquire(&is_done)) {
      ha_abandoned_take_from_idle(owner, true);
    }
    meet();
    pthread_join(thread, NULL);
    CHECK_EQ(at_rest().HeapAlloc, before.HeapAlloc);
  }
  CHECK(pages_in_use(&before) <= KEPT_PAGES_MAX, "%zu pages stay in use", pages_in_use(&before));
}

/* ---- The thief is stopped while it has the lists ---- */

enum hold { NOT_HELD, HELD, LET_GO };

static int hold; /* atomic: enum hold */
static pthread_t thief;

/* The owner is sending the signal, so if its lists are locked it is by the thief. Another signal may still come after. */
static void stop_if_locked(int signal) {
  const struct timespec pause = {0, (long)HA_SECOND / 1000};
  (void)signal;
  int not_held = NOT_HELD;
  if (ha_load_relaxed(&owner->lists_lock) == 0 || !ha_cas_strong_acq_rel(&hold, &not_held, HELD)) {
    return;
  }
  while (ha_load_acquire(&hold) == HELD) {
    nanosleep(&pause, NULL);
  }
}

static void stop_thief(void) {
  while (ha_load_acquire(&hold) != HELD) {
    pthread_kill(thief, SIGUSR1);
    sched_yield();
  }
}

static void steal_from(void (*run)(void)) {
  begin();
  thief = pthread_self();
  signal(SIGUSR1, stop_if_locked);
  pthread_t thread = start(&run);
  while (ha_load_acquire(&hold) != LET_GO) {
    struct ha_list_walk walk = {NULL, 0, false};
    ha_lock(HA_RANK_ABANDONED);
    CHECK(ha_heap_take_unused_locked(owner, ha_class_of(SIZE), &walk) == NULL, "a page in use was taken");
    ha_unlock(HA_RANK_ABANDONED);
  }
  meet();
  pthread_join(thread, NULL);
}

#define HOLD_NANOS (HA_SECOND / 4)

static void *let_go_later(void *arg) {
  const struct timespec pause = {0, (long)HOLD_NANOS};
  nanosleep(&pause, NULL);
  ha_store_release(&hold, LET_GO);
  return arg;
}

static uint64_t time_spent; /* by the owner's processor clock */

static void wait_for_lists(void) {
  pthread_t other;
  fill_and_free_some();
  meet();
  stop_thief();
  CHECK_EQ(pthread_create(&other, NULL, let_go_later, NULL), 0);
  time_spent = ha_clock_thread();
  ha_heap_count_listed(owner, ha_class_of(SIZE), 1);
  time_spent = ha_clock_thread() - time_spent;
  CHECK(ha_load_acquire(&hold) == LET_GO, "the owner did not wait");
  pthread_join(other, NULL);
  meet();
}

/* A thread of higher priority that spins keeps the thief from ever letting go. */
TEST(an_owner_leaves_the_processor_while_it_waits_for_a_thief) {
  steal_from(wait_for_lists);
  CHECK(time_spent < HOLD_NANOS / 10, "%lu ns spent waiting", time_spent);
}

static int child_status;

static void use_lists_in_child(void) {
  const unsigned seconds = 10;
  fill_and_free_some();
  meet();
  stop_thief();
  pid_t child = _Fork();
  if (child == 0) {
    alarm(seconds);
    ha_heap_count_listed(owner, ha_class_of(SIZE), 1);
    _exit(0);
  }
  CHECK_EQ(waitpid(child, &child_status, 0), child);
  ha_store_release(&hold, LET_GO);
  meet();
}

TEST(a_child_made_without_handlers_does_not_wait_for_a_thief_it_does_not_have) {
  ha_locks_notice_forks();
  steal_from(use_lists_in_child);
  CHECK_EQ(child_status, 0);
}
