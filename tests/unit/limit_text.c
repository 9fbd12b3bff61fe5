/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a limit that Go would take and we refuse, or that we take for another number;
 * a typing error that becomes a limit instead of a complaint.
 */
#include "base/limit_text.h"
#include "tests/test.h"

#define KIB ((int64_t)1 << 10)
#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)
#define TIB ((int64_t)1 << 40)

static void check(const char *text, enum ha_limit_kind kind, int64_t value, bool is_hard) {
  struct ha_limit_setting setting = {HA_LIMIT_PERCENT, -7, !is_hard};
  CHECK(ha_limit_text_parse(&setting, text), "\"%s\" is refused", text);
  CHECK(setting.kind == kind && setting.value == value && setting.is_hard == is_hard,
        "\"%s\" gives kind %d, value %lld, hard %d", text, (int)setting.kind, (long long)setting.value,
        (int)setting.is_hard);
}

static void check_refused(const char *text) {
  struct ha_limit_setting setting = {HA_LIMIT_PERCENT, -7, true};
  CHECK(!ha_limit_text_parse(&setting, text), "\"%s\" is taken as kind %d, value %lld", text,
        (int)setting.kind, (long long)setting.value);
  CHECK(setting.kind == HA_LIMIT_PERCENT && setting.value == -7 && setting.is_hard,
        "\"%s\" is refused, but the setting has changed", text);
}

TEST(what_go_takes_is_taken) {
  check("off", HA_LIMIT_OFF, 0, false);
  check("0", HA_LIMIT_BYTES, 0, false);
  check("0TiB", HA_LIMIT_BYTES, 0, false);
  check("1", HA_LIMIT_BYTES, 1, false);
  check("1B", HA_LIMIT_BYTES, 1, false);
  check("3KiB", HA_LIMIT_BYTES, 3 * KIB, false);
  check("900MiB", HA_LIMIT_BYTES, 900 * MIB, false);
  check("1GiB", HA_LIMIT_BYTES, GIB, false);
  check("2TiB", HA_LIMIT_BYTES, 2 * TIB, false);
  check("00000000000000000000000000000012MiB", HA_LIMIT_BYTES, 12 * MIB, false);
}

TEST(the_largest_of_each_unit_is_taken_and_one_more_is_not) {
  check("9223372036854775807", HA_LIMIT_BYTES, INT64_MAX, false);
  check_refused("9223372036854775808");
  check("9223372036854775807B", HA_LIMIT_BYTES, INT64_MAX, false);
  check_refused("9223372036854775808B");
  check("9007199254740991KiB", HA_LIMIT_BYTES, INT64_MAX - KIB + 1, false);
  check_refused("9007199254740992KiB");
  check("8796093022207MiB", HA_LIMIT_BYTES, INT64_MAX - MIB + 1, false);
  check_refused("8796093022208MiB");
  check("8589934591GiB", HA_LIMIT_BYTES, INT64_MAX - GIB + 1, false);
  check_refused("8589934592GiB");
  check("8388607TiB", HA_LIMIT_BYTES, INT64_MAX - TIB + 1, false);
  check_refused("8388608TiB");
  /* Products that wrap to a small positive number. */
  check_refused("16777217TiB");
  check_refused("18014398509481985KiB");
  check_refused("18446744073709551616");
  check_refused("18446744073709551617");
  check_refused("99999999999999999999999999999999999999MiB");
}

TEST(what_go_refuses_is_refused) {
  static const char *const texts[] = {"",      "-1",     "-0",     "+1",    " 1",
                                      "1 ",    "1 MiB",  "1.5GiB", "1e9",   "0x10",
                                      "1_000", "1,000",  "1K",     "1k",    "1KB",
                                      "1kB",   "1kib",   "1Kib",   "1Ki",   "1KIB",
                                      "1mib",  "1MB",    "1G",     "1b",    "1BB",
                                      "1iB",   "1PiB",   "1EiB",   "1MiB1", "1MiBB",
                                      "B",     "KiB",    "MiB",    "iB",    "OFF",
                                      "Off",   "off ",   " off",   "offf",  "of",
                                      "off1",  "1off",   "on",     "none",  "max",
                                      "1\n",   "1MiB\n", "\t1",    "12a",   "1/2",
                                      "1:",    "/",      "\xff",   "-",     "9223372036854775807KiB"};
  for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
    check_refused(texts[i]);
  }
}

TEST(percentages_are_1_to_100) {
  check("1%", HA_LIMIT_PERCENT, 1, false);
  check("90%", HA_LIMIT_PERCENT, 90, false);
  check("100%", HA_LIMIT_PERCENT, 100, false);
  check("090%", HA_LIMIT_PERCENT, 90, false);
  check_refused("0%");
  check_refused("101%");
  check_refused("-5%");
  check_refused("12.5%");
  check_refused("9223372036854775808%");
  check_refused("18446744073709551617%");
  check_refused("%");
  check_refused("90%%");
  check_refused("90 %");
  check_refused("90%B");
  check_refused("90B%");
  check_refused("90MiB%");
  check_refused("off%");
}

TEST(each_form_can_be_hard) {
  check("off,hard", HA_LIMIT_OFF, 0, true);
  check("0,hard", HA_LIMIT_BYTES, 0, true);
  check("900MiB,hard", HA_LIMIT_BYTES, 900 * MIB, true);
  check("12B,hard", HA_LIMIT_BYTES, 12, true);
  check("80%,hard", HA_LIMIT_PERCENT, 80, true);
  check_refused(",hard");
  check_refused("hard");
  check_refused("1GiB,");
  check_refused("1GiB,soft");
  check_refused("1GiB, hard");
  check_refused("1GiB ,hard");
  check_refused("1GiB,har");
  check_refused("1GiB,hard ");
  check_refused("1GiB,hard,hard");
  check_refused("1GiB,HARD");
  check_refused("1GiB;hard");
  check_refused("0%,hard");
  check_refused("9223372036854775808,hard");
}

/* Found no other way than by trying all: a text of up to four of these bytes is taken exactly if it is of the
 * form. */
TEST(short_texts_agree_with_the_grammar) {
  static const char bytes[] = "019BKMiof%, ";
  unsigned taken = 0;
  unsigned long count = 1;
  const unsigned base = sizeof bytes; /* with the terminator, so shorter texts are among them */
  for (unsigned i = 0; i < 4; i++) {
    count *= base;
  }
  for (unsigned long n = 0; n < count; n++) {
    char text[5] = {0};
    unsigned long rest = n;
    for (unsigned i = 0; i < 4; i++, rest /= base) {
      text[i] = bytes[rest % base];
    }
    size_t digits = strspn(text, "0123456789");
    const char *unit = text + digits;
    int64_t number = 0;
    for (size_t i = 0; i < digits; i++) {
      number = number * 10 + (text[i] - '0');
    }
    bool is_percent = strcmp(unit, "%") == 0 && number >= 1 && number <= 100;
    bool is_bytes =
        *unit == '\0' || strcmp(unit, "B") == 0 || strcmp(unit, "KiB") == 0 || strcmp(unit, "MiB") == 0;
    bool is_good = strcmp(text, "off") == 0 || (digits > 0 && (is_percent || is_bytes));
    struct ha_limit_setting setting;
    CHECK(ha_limit_text_parse(&setting, text) == is_good, "\"%s\" is %s", text,
          is_good ? "refused" : "taken");
    taken += is_good;
  }
  test_note("%u of %lu texts are of the form", taken, count);
}

TEST(the_accepted_form_is_one_short_line) {
  CHECK(strlen(HA_LIMIT_TEXT_ACCEPTED) < 110 && strchr(HA_LIMIT_TEXT_ACCEPTED, '\n') == NULL,
        "it is too long");
  check("943718400", HA_LIMIT_BYTES, 900 * MIB, false); /* the two it names as examples are equal */
}
