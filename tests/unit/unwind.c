/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: callers missing or out of order in every profile, a crash in a program whose
 * frame pointers hold other things, errno changed by a sampled malloc.
 */
#include <pthread.h>

#include "base/config.h"
#include "sampler/unwind.h"
#include "tests/test.h"

#define MAX 64

/* The walker leaves out the code of the section of this name when there is one, and the whole binary
 * otherwise. */
__attribute__((section("halloc_text"), used, noinline)) static void stand_in_for_halloc(void) {
  __asm__ volatile("");
}

static uintptr_t frames[MAX];
static uint32_t count;

/* Three callers that cannot be inlined, merged or left by a jump. */
__attribute__((noinline)) static int innermost(uint32_t max) {
  count = ha_unwind(frames, max);
  __asm__ volatile("" ::: "memory");
  return 1;
}
__attribute__((noinline)) static int middle(uint32_t max) {
  int result = innermost(max) + 1;
  __asm__ volatile("" ::: "memory");
  return result;
}
__attribute__((noinline)) static int outermost(uint32_t max) {
  int result = middle(max) + 1;
  __asm__ volatile("" ::: "memory");
  return result;
}

/* Where a return address inside the function appears, or MAX. The functions are short. */
static uint32_t position(int (*function)(uint32_t)) {
  for (uint32_t i = 0; i < count; i++) {
    if (frames[i] > (uintptr_t)function && frames[i] <= (uintptr_t)function + 96) {
      return i;
    }
  }
  return MAX;
}

static void check_order(enum ha_unwind_mode mode) {
  stand_in_for_halloc();
  ha_config.unwind = mode;
  errno = ENOTTY;
  outermost(MAX);
  CHECK_EQ(errno, ENOTTY);
  uint32_t inner = position(innermost);
  CHECK(inner < count, "the caller is not among %u frames", count);
  CHECK_EQ(position(middle), inner + 1);
  CHECK_EQ(position(outermost), inner + 2);
}

TEST(callers_come_innermost_first_by_unwind_tables) {
  check_order(HA_UNWIND_LIBGCC);
}

TEST(callers_come_innermost_first_by_frame_pointers) {
  check_order(HA_UNWIND_FP);
}

static void check_limit(enum ha_unwind_mode mode) {
  ha_config.unwind = mode;
  uint64_t before = ha_unwind_truncated();
  frames[3] = 0x1234;
  outermost(3);
  CHECK_EQ(count, 3u);
  CHECK_EQ(frames[3], (uintptr_t)0x1234);
  CHECK_EQ(ha_unwind_truncated(), before + 1);
}

TEST(the_depth_limit_truncates_and_counts) {
  check_limit(HA_UNWIND_LIBGCC);
  check_limit(HA_UNWIND_FP);
}

/* A frame whose saved frame pointer is wild: the frame-pointer walk ends there. */
__attribute__((noinline)) static int with_wild_frame(uintptr_t wild) {
  uintptr_t *frame = __builtin_frame_address(0);
  uintptr_t saved = frame[0];
  frame[0] = wild;
  __asm__ volatile("" ::: "memory");
  innermost(MAX);
  frame[0] = saved;
  __asm__ volatile("" ::: "memory");
  return 1;
}

TEST(wild_frame_pointers_end_the_walk) {
  ha_config.unwind = HA_UNWIND_FP;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  const uintptr_t wild[] = {0,
                            1,
                            16,
                            UINTPTR_MAX,
                            UINTPTR_MAX - 15,
                            here | 1,
                            here + 64 * 1024 * 1024,
                            (uintptr_t)1 << 46,
                            (uintptr_t)1 << 62};
  for (unsigned i = 0; i < HA_ARRAY_LEN(wild); i++) {
    with_wild_frame(wild[i]);
    CHECK(count >= 1 && count < 6, "%u frames beyond frame pointer %#lx", count, (unsigned long)wild[i]);
  }
}

static void *in_thread(void *arg) {
  outermost(MAX);
  return arg;
}

TEST(a_thread_stack_is_walked_to_its_end) {
  const enum ha_unwind_mode modes[] = {HA_UNWIND_LIBGCC, HA_UNWIND_FP};
  for (int i = 0; i < 2; i++) {
    ha_config.unwind = modes[i];
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    CHECK(count >= 4 && count < 12 && position(outermost) < count, "mode %d: %u frames", (int)modes[i],
          count);
  }
}
