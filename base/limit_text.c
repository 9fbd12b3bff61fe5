/* SPDX-License-Identifier: MIT */
/*
 * A parser that takes words off the front of the text; what is left at the end makes the text malformed.
 */
#include "base/limit_text.h"

#include <string.h>

static bool take(const char **text, const char *word) {
  size_t length = strlen(word);
  if (strncmp(*text, word, length) != 0) {
    return false;
  }
  *text += length;
  return true;
}

/* False without a digit and above INT64_MAX. */
static bool take_number(const char **text, int64_t *number) {
  const char *next = *text;
  *number = 0;
  for (; *next >= '0' && *next <= '9'; next++) {
    if (__builtin_mul_overflow(*number, 10, number) || __builtin_add_overflow(*number, *next - '0', number)) {
      return false;
    }
  }
  bool has_digits = next != *text;
  *text = next;
  return has_digits;
}

/* Bytes of the unit at the front; 1 if there is none. */
static int64_t take_unit(const char **text) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  for (unsigned i = 0; i < HA_ARRAY_LEN(units); i++) {
    if (take(text, units[i])) {
      return (int64_t)1 << (10 * i);
    }
  }
  return 1;
}

static bool take_amount(const char **text, struct ha_limit_setting *setting) {
  if (!take_number(text, &setting->value)) {
    return false;
  }
  if (take(text, "%")) {
    setting->kind = HA_LIMIT_PERCENT;
    return setting->value >= 1 && setting->value <= 100;
  }
  setting->kind = HA_LIMIT_BYTES;
  return !__builtin_mul_overflow(setting->value, take_unit(text), &setting->value);
}

bool ha_limit_text_parse(struct ha_limit_setting *setting, const char *text) {
  struct ha_limit_setting parsed = {.kind = HA_LIMIT_OFF};
  if (!take(&text, "off") && !take_amount(&text, &parsed)) {
    return false;
  }
  parsed.is_hard = take(&text, ",hard");
  if (*text != '\0') {
    return false;
  }
  *setting = parsed;
  return true;
}
