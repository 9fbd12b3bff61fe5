/* SPDX-License-Identifier: MIT */
/*
 * Pairs are cut off the front at '&'. As in Go, a pair with a semicolon is none.
 */
#include "serve/http_query.h"

#include <string.h>

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  char lower = (char)(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* False: it does not fit, or has a malformed escape or a NUL. */
static bool decode(struct ha_slice text, char *out, size_t size) {
  size_t length = 0;
  for (size_t i = 0; i < text.size; i++) {
    int c = (unsigned char)text.data[i];
    if (c == '%') {
      int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
      int low = i + 2 < text.size ? hex_digit(text.data[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return false;
      }
      c = high * 16 + low;
      i += 2;
    } else if (c == '+') {
      c = ' ';
    }
    if (c == '\0' || length + 1 >= size) {
      return false;
    }
    out[length++] = (char)c;
  }
  out[length] = '\0';
  return true;
}

static struct ha_slice take_until(struct ha_slice *rest, char end) {
  const char *at = rest->size > 0 ? memchr(rest->data, end, rest->size) : NULL;
  struct ha_slice part = {rest->data, at != NULL ? (size_t)(at - rest->data) : rest->size};
  *rest = ha_slice_behind(*rest, part.size + (at != NULL));
  return part;
}

bool ha_query_value(struct ha_slice query, const char *key, char value[HA_QUERY_VALUE_MAX]) {
  char name[HA_QUERY_VALUE_MAX];
  while (query.size > 0) {
    struct ha_slice pair = take_until(&query, '&');
    if (pair.size > 0 && memchr(pair.data, ';', pair.size) != NULL) {
      continue;
    }
    struct ha_slice encoded = take_until(&pair, '=');
    if (decode(encoded, name, sizeof name) && strcmp(name, key) == 0) {
      return decode(pair, value, HA_QUERY_VALUE_MAX);
    }
  }
  return false;
}

bool ha_query_parse_number(const char *text, int64_t *ret_number) {
  bool is_negative = text[0] == '-';
  text += text[0] == '-' || text[0] == '+';
  bool is_in_range = true;
  int64_t number = 0;
  *ret_number = 0;
  if (*text == '\0') {
    return false;
  }
  for (; *text >= '0' && *text <= '9'; text++) {
    int64_t digit = is_negative ? '0' - *text : *text - '0';
    is_in_range = is_in_range && !__builtin_mul_overflow(number, 10, &number) &&
                  !__builtin_add_overflow(number, digit, &number);
  }
  if (*text != '\0') {
    return false;
  }
  *ret_number = is_in_range ? number : is_negative ? INT64_MIN : INT64_MAX;
  return is_in_range;
}

int64_t ha_query_number(struct ha_slice query, const char *key) {
  char value[HA_QUERY_VALUE_MAX];
  int64_t number = 0;
  if (ha_query_value(query, key, value)) {
    ha_query_parse_number(value, &number);
  }
  return number;
}
