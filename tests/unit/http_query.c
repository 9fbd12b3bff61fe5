/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a parameter that is read otherwise than Go's net/url and strconv read it.
 */
#include "serve/http_query.h"
#include "tests/test.h"

static const char *value_of(const char *query) {
  static char value[HA_QUERY_VALUE_MAX];
  return ha_query_value(ha_slice_of(query), "key", value) ? value : NULL;
}

static void check_value(const char *query, const char *expected) {
  const char *value = value_of(query);
  CHECK((value == NULL) == (expected == NULL), "%s: %s", query, value != NULL ? value : "nothing");
  if (value != NULL && expected != NULL) {
    CHECK_STRING(value, expected);
  }
}

TEST(values_are_found_and_decoded) {
  check_value("key=1", "1");
  check_value("a=b&key=1&c", "1");
  check_value("key=1&key=2", "1");
  check_value("key", "");
  check_value("key=", "");
  check_value("&&key=x", "x");
  check_value("key=a=b", "a=b");
  check_value("key=a+b%20c%2B", "a b c+");
  check_value("%6bey=%41", "A");
  check_value("key=1;", NULL);
  check_value("key=1;&key=2", "2");
  check_value("key=%", NULL);
  check_value("key=%4", NULL);
  check_value("key=%4g", NULL);
  check_value("key=%00", NULL);
  check_value("", NULL);
  check_value("&", NULL);
  check_value("=", NULL);
  check_value("Key=1", NULL);
  check_value("keys=1&ke=2", NULL);
}

TEST(long_values_are_absent) {
  char query[HA_QUERY_VALUE_MAX + 8] = "key=";
  memset(query + 4, '1', HA_QUERY_VALUE_MAX - 1);
  CHECK(value_of(query) != NULL, "a value that fits is absent");
  query[strlen(query)] = '1';
  CHECK(value_of(query) == NULL, "a longer one is not");
}

static void check_number(const char *text, bool is_good, int64_t expected) {
  int64_t number = -77;
  CHECK(ha_query_parse_number(text, &number) == is_good, "%s is %s", text, is_good ? "refused" : "taken");
  CHECK_EQ(number, expected);
}

TEST(numbers_are_those_of_strconv) {
  check_number("0", true, 0);
  check_number("42", true, 42);
  check_number("-42", true, -42);
  check_number("+42", true, 42);
  check_number("007", true, 7);
  check_number("9223372036854775807", true, INT64_MAX);
  check_number("-9223372036854775808", true, INT64_MIN);
  check_number("9223372036854775808", false, INT64_MAX);
  check_number("-9223372036854775809", false, INT64_MIN);
  check_number("99999999999999999999999999", false, INT64_MAX);
  check_number("", false, 0);
  check_number("-", false, 0);
  check_number("+-1", false, 0);
  check_number("1x", false, 0);
  check_number(" 1", false, 0);
  check_number("1.0", false, 0);
  check_number("0x10", false, 0);
  CHECK_EQ(ha_query_number(ha_slice_of("key=99999999999999999999"), "key"), INT64_MAX);
  CHECK_EQ(ha_query_number(ha_slice_of("key=x"), "key"), (int64_t)0);
  CHECK_EQ(ha_query_number(ha_slice_of("other=1"), "key"), (int64_t)0);
}
