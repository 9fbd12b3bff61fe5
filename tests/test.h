/* SPDX-License-Identifier: MIT */
/*
 * The test harness: a TEST registers itself by being linked in, and runs in a process of its own.
 *
 *   TEST(same_frames_give_same_stack) { CHECK(a == b, "%p is not %p", a, b); }
 *
 * A program made of tests and runner.c runs them all, or those named on its command line; --list prints the
 * names. Output is one line per test: `ok NAME`, `skip NAME: reason`, or `FAIL NAME: file:line: reason`; exit
 * 1 when any failed. A failed CHECK ends the test. Nothing here allocates or uses stdio streams, so tests of
 * an allocator can run at any point of its life, and with any allocator or none of ours.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct test_case {
  const char *name;
  void (*run)(void);
  unsigned seconds; /* it is killed and fails after that many */
};

#define TEST_SECONDS_DEFAULT 60

#define TEST_WITHIN(timeout, function)                                                                       \
  static void function(void);                                                                                \
  static const struct test_case case_##function = {#function, function, timeout};                            \
  __attribute__((used, section("test_cases"))) static const struct test_case *const listed_##function =      \
      &case_##function;                                                                                      \
  static void function(void)

#define TEST(function) TEST_WITHIN(TEST_SECONDS_DEFAULT, function)

/* Ends the test as failed; usable from every thread of it. In a child that a test forked it ends the child,
 * whose parent should look at its status (test_wait_ok). */
__attribute__((noreturn, cold, format(printf, 3, 4))) void test_fail(const char *file, int line,
                                                                     const char *format, ...);

/* Ends the test as skipped. */
__attribute__((noreturn, cold, format(printf, 1, 2))) void test_skip(const char *format, ...);

/* A line for the reader of the log: seeds, sample sizes, measured values. */
__attribute__((cold, format(printf, 1, 2))) void test_note(const char *format, ...);

#define CHECK(condition, ...)                                                                                \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      test_fail(__FILE__, __LINE__, __VA_ARGS__);                                                            \
    }                                                                                                        \
  } while (0)

#ifndef __cplusplus
/* A value with its kind, so that one message function serves all types. */
struct test_value {
  enum { TEST_SIGNED, TEST_UNSIGNED, TEST_POINTER, TEST_DOUBLE } kind;
  union {
    long long as_signed;
    unsigned long long as_unsigned;
    const void *as_pointer;
    double as_double;
  } u;
};

static inline struct test_value test_signed(long long value) {
  return (struct test_value){TEST_SIGNED, {.as_signed = value}};
}
static inline struct test_value test_unsigned(unsigned long long value) {
  return (struct test_value){TEST_UNSIGNED, {.as_unsigned = value}};
}
static inline struct test_value test_pointer(const void *value) {
  return (struct test_value){TEST_POINTER, {.as_pointer = value}};
}
static inline struct test_value test_double(double value) {
  return (struct test_value){TEST_DOUBLE, {.as_double = value}};
}

#define TEST_VALUE(x)                                                                                        \
  _Generic((x), _Bool                                                                                        \
           : test_unsigned, char                                                                             \
           : test_signed, signed char                                                                        \
           : test_signed, short                                                                              \
           : test_signed, int                                                                                \
           : test_signed, long                                                                               \
           : test_signed, long long                                                                          \
           : test_signed, unsigned char                                                                      \
           : test_unsigned, unsigned short                                                                   \
           : test_unsigned, unsigned                                                                         \
           : test_unsigned, unsigned long                                                                    \
           : test_unsigned, unsigned long long                                                               \
           : test_unsigned, float                                                                            \
           : test_double, double                                                                             \
           : test_double, default                                                                            \
           : test_pointer)(x)

__attribute__((noreturn, cold)) void test_fail_eq(const char *file, int line, const char *what,
                                                  struct test_value actual, struct test_value expected);

/* Equality of two values of one type; the message shows both. */
#define CHECK_EQ(actual, expected)                                                                           \
  do {                                                                                                       \
    __typeof__(0 ? (actual) : (expected)) actual_ = (actual), expected_ = (expected);                        \
    if (actual_ != expected_) {                                                                              \
      test_fail_eq(__FILE__, __LINE__, #actual, TEST_VALUE(actual_), TEST_VALUE(expected_));                 \
    }                                                                                                        \
  } while (0)
#endif

#define CHECK_STRING(actual, expected)                                                                       \
  do {                                                                                                       \
    const char *text_ = (actual);                                                                            \
    if (strcmp(text_, (expected)) != 0) {                                                                    \
      test_fail(__FILE__, __LINE__, #actual " is \"%s\", not \"%s\"", text_, (expected));                    \
    }                                                                                                        \
  } while (0)

/* Waits for a child of the test; fails the test unless it exited with 0. */
void test_wait_ok(const char *file, int line, int pid);
#define CHECK_CHILD(pid) test_wait_ok(__FILE__, __LINE__, (pid))

/* Runs a function in a child with its standard error captured. Returns the wait status; the text is cut at
 * `size`. */
int test_capture(void (*run)(void *arg), void *arg, char *text, size_t size);

/* Fails unless the function aborts and its standard error is exactly this text. */
void test_dies(const char *file, int line, void (*run)(void *arg), void *arg, const char *text);
#define CHECK_DIES(run, arg, text) test_dies(__FILE__, __LINE__, (run), (arg), (text))

/* A generator for tests, so that none depends on the one under test (splitmix64). */
static inline uint64_t test_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

#ifdef __cplusplus
}
#endif

#endif
