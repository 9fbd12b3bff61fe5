/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a stack in a profile that mixes the callers of now with those of the last
 * sample, a crash in a walk that follows what is not there any more.
 *
 * Each stack is walked twice: along the trail of the stacks before, and with the trail forgotten. Both must give
 * the same.
 */
#include "sampler/trail.h"

#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "base/config.h"
#include "base/meta.h"
#include "base/random.h"
#include "sampler/rule_cache.h"
#include "sampler/stack_memory.h"
#include "sampler/unwind.h"
#include "tests/test.h"

#define SEED 20261121
#define MAX 128
#define WALKS 20000
#define DEPTH_MAX 60
#define ROOM 16

__attribute__((section("halloc_text"), used, noinline)) static void stand_in_for_halloc(void) {
  __asm__ volatile("");
}

static struct ha_random seeded;
static uint64_t walks, frames_seen;

static uint32_t below(uint32_t limit) {
  return (uint32_t)(ha_random_next(&seeded) >> 32) % limit;
}

__attribute__((noinline)) static uint32_t walk_here(uintptr_t *frames, uint32_t max) {
  struct ha_trail_walk path;
  uint32_t count = ha_unwind_on_trail(frames, max, &path);
  ha_trail_end(&path, count != 0 ? ha_stack_intern(frames, count) : NULL);
  return count;
}

__attribute__((noinline)) static void forget_if(bool is_wanted) {
  if (is_wanted) {
    ha_rules_forget();
  }
}

/* From one call, so that both walks begin with the same return address. Not each time: trails that were followed are
 * followed again. */
__attribute__((noinline)) static void compare_walks(void) {
  static uintptr_t frames[2][MAX];
  static uint32_t counts[2];
  uint32_t max = walks % 7 == 0 ? 1 + below(MAX) : MAX;
  int last = walks++ % 4 == 0;
  for (volatile int i = 0; i <= last; i++) {
    forget_if(i == 1);
    counts[i] = walk_here(frames[i], max);
  }
  frames_seen += counts[0];
  CHECK(!last || counts[0] == counts[1], "%u frames by the trail, %u without", counts[0], counts[1]);
  for (uint32_t i = 0; last && i < counts[0]; i++) {
    CHECK(frames[0][i] == frames[1][i], "walk %lu, frame %u of %u: %p by the trail, %p without", walks, i,
          counts[0], (void *)frames[0][i], (void *)frames[1][i]);
  }
}

/* ---- A tree of calls: the same addresses at other depths, the same depths with other callers ---- */

typedef void call_fn(int depth);
static call_fn plain, with_room, with_alloca, with_two_calls, with_registers;
static call_fn *const functions[] = {plain, with_room, with_alloca, with_two_calls, with_registers};

__attribute__((noinline)) static void go_on(int depth) {
  for (uint32_t calls = 1 + below(3); calls > 0 && walks < WALKS; calls--) {
    if (depth == 0 || below(8) == 0) {
      compare_walks();
    } else {
      functions[below(sizeof functions / sizeof *functions)](depth - 1);
    }
  }
}

/* Room of its own makes the compiler keep a frame pointer. */
__attribute__((noinline)) static void plain(int depth) {
  char *room = alloca(ROOM);
  __asm__ volatile("" ::"r"(room) : "memory");
  go_on(depth);
  __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void with_room(int depth) {
  char room[40];
  __asm__ volatile("" ::"r"(room) : "memory");
  go_on(depth);
  __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void with_alloca(int depth) {
  char *room = alloca(16 + below(4) * 64);
  room[0] = (char)depth;
  __asm__ volatile("" ::"r"(room) : "memory");
  go_on(depth);
  __asm__ volatile("" ::"r"(room) : "memory");
}

__attribute__((noinline)) static void with_two_calls(int depth) {
  if (below(2) == 0) {
    go_on(depth);
    __asm__ volatile("nop" ::: "memory");
  } else {
    go_on(depth);
    __asm__ volatile("nop; nop" ::: "memory");
  }
}

/* So many values across the call that the compiler takes rbp for one of them, and saves it. */
__attribute__((noinline)) static void with_registers(int depth) {
  volatile uintptr_t source = (uintptr_t)depth;
  uintptr_t a = source, b = source + 1, c = source + 2, d = source + 3, e = source + 4, f = source + 5;
  go_on(depth);
  source = a * b + c * d + e * f;
}

static void begin(void) {
  stand_in_for_halloc();
  ha_config.unwind = HA_UNWIND_AUTO;
  ha_random_seed(&seeded, SEED);
  test_note("seed %d", SEED);
  walks = frames_seen = 0;
  ha_trail_open();
}

static void grow_tree(void) {
  while (walks < WALKS) {
    go_on(1 + (int)below(DEPTH_MAX));
  }
}

TEST(the_trail_gives_the_frames_that_are_there) {
  begin();
  grow_tree();
  CHECK(frames_seen > WALKS * 5, "%lu frames in %lu walks", frames_seen, walks);
}

/* ---- Stacks of one layout that differ in one kind of word ---- */

#define LEVELS 16
#define SAME_LAYOUT_WALKS 2000

/* Every frame lies where it lay before; which of two calls it is in differs. */
__attribute__((noinline)) static void one_of_two(uint32_t levels, uint32_t bits) {
  char *room = alloca(ROOM);
  __asm__ volatile("" ::"r"(room) : "memory");
  if (levels == 0) {
    compare_walks();
  } else if ((bits & 1) != 0) {
    one_of_two(levels - 1, bits >> 1);
    __asm__ volatile("nop" ::: "memory");
  } else {
    one_of_two(levels - 1, bits >> 1);
    __asm__ volatile("nop; nop" ::: "memory");
  }
  __asm__ volatile("" ::: "memory");
}

TEST(rules_that_are_forgotten_end_the_trail) {
  begin();
  struct ha_stack_memory memory;
  struct ha_trail_walk walk;
  uintptr_t frames[MAX];
  walk_here(frames, MAX); /* finds the rules */
  walk_here(frames, MAX);
  ha_stack_memory_begin(&memory, (uintptr_t)__builtin_frame_address(0));
  ha_trail_begin(&walk, memory.high);
  CHECK(walk.next > 0, "there is no trail");
  ha_trail_end(&walk, NULL);
  walk_here(frames, MAX);
  ha_rules_forget();
  ha_trail_begin(&walk, memory.high);
  CHECK_EQ(walk.next, 0u);
  ha_trail_end(&walk, NULL);
}

TEST(other_return_addresses_are_seen) {
  begin();
  for (uint32_t i = 0; i < SAME_LAYOUT_WALKS; i++) {
    /* Some outer ones, too, and seldom all. */
    one_of_two(LEVELS, below(1u << LEVELS) & below(1u << LEVELS) & below(1u << LEVELS));
  }
}

#define ROOM_STEP 64
#define ROOM_STEPS 8

/* Two frames share out the same room: only the frame pointer that the third one saves tells how. */
__attribute__((noinline)) static void saves_frame_pointer(int depth) {
  volatile uintptr_t source = (uintptr_t)depth;
  uintptr_t a = source, b = source + 1, c = source + 2, d = source + 3, e = source + 4, f = source + 5;
  compare_walks();
  source = a * b + c * d + e * f;
}

__attribute__((noinline)) static void second_room(size_t room) {
  volatile char *inside = alloca(room);
  inside[0] = 1;
  saves_frame_pointer(3);
  inside[0] = 2;
}

/* What it leaves in the room of the next walks looks like their frames, but for the call. */
__attribute__((noinline)) static void first_room(size_t room) {
  volatile char *inside = alloca(room);
  size_t rest = ROOM_STEP * (ROOM_STEPS + 1) - room;
  inside[0] = 1;
  if (below(2) == 0) {
    second_room(rest);
    __asm__ volatile("nop" ::: "memory");
  } else {
    second_room(rest);
    __asm__ volatile("nop; nop" ::: "memory");
  }
  inside[0] = 2;
}

TEST(another_saved_frame_pointer_is_seen) {
  begin();
  for (uint32_t i = 0; i < SAME_LAYOUT_WALKS; i++) {
    first_room(ROOM_STEP * (1 + below(ROOM_STEPS)));
  }
}

static void *grow_in_thread(void *arg) {
  (void)arg;
  ha_trail_open();
  grow_tree();
  ha_trail_close();
  uint64_t bytes = ha_meta_bytes(HA_META_PROFILE);
  ha_trail_open();
  CHECK_EQ(ha_meta_bytes(HA_META_PROFILE), bytes); /* it has ended */
  walks = 0;
  compare_walks();
  return NULL;
}

TEST(a_thread_has_its_own_and_gives_it_back) {
  begin();
  uint64_t before = ha_meta_bytes(HA_META_PROFILE);
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    walks = WALKS - WALKS / 10;
    pthread_create(&thread, NULL, grow_in_thread, NULL);
    pthread_join(thread, NULL);
  }
  /* Stacks and rules live on elsewhere. */
  CHECK_EQ(ha_meta_bytes(HA_META_PROFILE), before);
}

/* ---- A walk inside a walk ---- */

static volatile sig_atomic_t interruptions;

static void on_tick(int signal) {
  (void)signal;
  uintptr_t frames[MAX];
  CHECK(walk_here(frames, MAX) > 2, "the handler has no callers");
  interruptions++;
}

TEST(a_signal_handler_can_walk_while_a_walk_is_under_way) {
  begin();
  struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  sigaction(SIGPROF, &action, NULL);
  struct itimerval every = {{0, 500}, {0, 500}};
  setitimer(ITIMER_PROF, &every, NULL);
  for (int round = 0; round < 5; round++) {
    walks = 0;
    grow_tree();
  }
  struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_PROF, &never, NULL);
  test_note("%d interruptions", (int)interruptions);
}
