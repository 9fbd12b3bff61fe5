/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a message about a corrupt heap that crashes, is garbled, mixes with another
 * process's, or changes errno under the program's feet.
 */
#include <limits.h>
#include <sys/wait.h>

#include "base/log.h"
#include "tests/test.h"

#define CHECK_FORMAT(expected, ...)                                                                          \
  do {                                                                                                       \
    char out_[256];                                                                                          \
    CHECK_EQ(ha_format(out_, sizeof out_, __VA_ARGS__), strlen(expected));                                   \
    CHECK_STRING(out_, expected);                                                                            \
  } while (0)

TEST(strings_and_characters) {
  CHECK_FORMAT("plain", "plain");
  CHECK_FORMAT("a-b-c", "%s-%s-%c", "a", "b", 'c');
  CHECK_FORMAT("[]", "[%s]", "");
  CHECK_FORMAT("100%", "100%%");
  const char *volatile none = NULL;
  CHECK_FORMAT("(null)", "%s", none);
}

TEST(signed_numbers_to_the_limits) {
  CHECK_FORMAT("0 -1 2147483647 -2147483648", "%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
  CHECK_FORMAT("9223372036854775807 -9223372036854775808", "%ld %ld", LONG_MAX, LONG_MIN);
  CHECK_FORMAT("-9223372036854775808", "%lld", LLONG_MIN);
}

TEST(unsigned_numbers_to_the_limits) {
  CHECK_FORMAT("4294967295 18446744073709551615", "%u %lu", UINT_MAX, ULONG_MAX);
  CHECK_FORMAT("18446744073709551615 18446744073709551615", "%llu %zu", ULLONG_MAX, SIZE_MAX);
  CHECK_FORMAT("deadbeef ffffffffffffffff 0", "%x %lx %x", 0xdeadbeefu, ULONG_MAX, 0u);
}

TEST(pointers) {
  CHECK_FORMAT("0xff00 0x0", "%p %p", (void *)0xff00, NULL);
}

TEST(a_short_buffer_is_ended_and_the_need_is_told) {
  char out[8];
  memset(out, 'x', sizeof out);
  CHECK_EQ(ha_format(out, 5, "%s", "123456789"), (size_t)9);
  CHECK_STRING(out, "1234");
  CHECK_EQ(out[5], 'x');
}

TEST(no_buffer_only_counts) {
  CHECK_EQ(ha_format(NULL, 0, "%d and %s", 12345, "text"), (size_t)14);
}

TEST(a_buffer_of_one_holds_the_end) {
  char out[2] = {'x', 'x'};
  CHECK_EQ(ha_format(out, 1, "abc"), (size_t)3);
  CHECK_EQ(out[0], '\0');
  CHECK_EQ(out[1], 'x');
}

static void log_number(void *arg) {
  errno = ENOTTY;
  ha_log("number %d", *(int *)arg);
  if (errno != ENOTTY) {
    ha_log("errno was changed");
  }
}

TEST(log_writes_one_prefixed_line_and_keeps_errno) {
  char text[256];
  int number = 42;
  CHECK_EQ(test_capture(log_number, &number, text, sizeof text), 0);
  CHECK_STRING(text, "halloc: number 42\n");
}

static void log_long(void *arg) {
  static char words[3 * HA_LOG_MAX];
  memset(words, 'w', (size_t)arg);
  ha_log("%s", words);
}

TEST(long_lines_are_cut_and_still_end) {
  char text[2 * HA_LOG_MAX];
  for (size_t length = HA_LOG_MAX - 20; length < HA_LOG_MAX + 20; length++) {
    CHECK_EQ(test_capture(log_long, (void *)length, text, sizeof text), 0);
    size_t said = strlen(text);
    CHECK(said <= HA_LOG_MAX && text[said - 1] == '\n' && text[said - 2] == 'w', "%zu bytes for %zu", said,
          length);
  }
}

static void die(void *arg) {
  ha_die("no way: %s", (const char *)arg);
}

TEST(die_says_why_and_aborts) {
  CHECK_DIES(die, "here", "halloc: no way: here\n");
}
