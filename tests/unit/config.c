/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a setting that is silently not applied, or one whose complaint does not say
 * which variable, which value and what would be accepted.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "base/config.h"
#include "base/log.h"
#include "tests/test.h"

static struct ha_config parse(char *const *environment) {
  struct ha_config config;
  memset(&config, 0, sizeof config);
  config.profile_rate = -7; /* stands for the default: stays unless the variable is taken */
  config.stack_depth = -7;
  ha_config_parse(&config, environment);
  return config;
}

static struct ha_config parse_one(const char *setting) {
  char *environment[] = {"PATH=/bin", (char *)(uintptr_t)setting, NULL};
  return parse(environment);
}

static void parse_and_return(void *setting) {
  parse_one(setting);
}

static void check_complaint(const char *setting, const char *complaint) {
  char text[2 * HA_LOG_MAX];
  int status = test_capture(parse_and_return, (void *)(uintptr_t)setting, text, sizeof text);
  CHECK_EQ(status, 0);
  CHECK_STRING(text, complaint);
}

TEST(defaults_are_those_of_go) {
  CHECK_EQ(ha_config.profile_rate, (int64_t)512 * 1024);
  CHECK_EQ(ha_config.stack_depth, (int64_t)128);
  CHECK_EQ((int)ha_config.unwind, (int)HA_UNWIND_AUTO);
  CHECK_EQ(ha_config.memstats, (int64_t)0);
  CHECK_EQ(ha_config.label_thread, (int64_t)0);
  CHECK_STRING(ha_config.profile_path, "");
}

TEST(good_values_are_taken_in_silence) {
  CHECK_EQ(parse_one("HALLOC_MEMPROFILERATE=0").profile_rate, (int64_t)0);
  CHECK_EQ(parse_one("HALLOC_MEMPROFILERATE=1").profile_rate, (int64_t)1);
  CHECK_EQ(parse_one("HALLOC_MEMPROFILERATE=9223372036854775807").profile_rate, INT64_MAX);
  CHECK_EQ(parse_one("HALLOC_STACKDEPTH=1").stack_depth, (int64_t)1);
  CHECK_EQ(parse_one("HALLOC_STACKDEPTH=1024").stack_depth, (int64_t)HA_STACK_DEPTH_MAX);
  CHECK_EQ(parse_one("HALLOC_MEMSTATS=1").memstats, (int64_t)1);
  CHECK_EQ(parse_one("HALLOC_LABEL_THREAD=1").label_thread, (int64_t)1);
  CHECK_EQ(parse_one("HALLOC_MUTEXPROFILEFRACTION=2147483647").mutex_fraction, (int64_t)INT_MAX);
  CHECK_EQ(parse_one("HALLOC_BLOCKPROFILERATE=10000").block_rate, (int64_t)10000);
  CHECK_EQ((int)parse_one("HALLOC_UNWIND=auto").unwind, (int)HA_UNWIND_AUTO);
  CHECK_EQ((int)parse_one("HALLOC_UNWIND=dwarf").unwind, (int)HA_UNWIND_DWARF);
  CHECK_EQ((int)parse_one("HALLOC_UNWIND=fp").unwind, (int)HA_UNWIND_FP);
  CHECK_EQ((int)parse_one("HALLOC_UNWIND=libgcc").unwind, (int)HA_UNWIND_LIBGCC);
  struct ha_config config = parse_one("HALLOC_MEMPROFILE=/tmp/a b.%p=x");
  CHECK_STRING(config.profile_path, "/tmp/a b.%p=x");
  check_complaint("HALLOC_MEMPROFILERATE=1", "");
}

TEST(the_admin_port_is_configured) {
  struct ha_config config = parse_one("HALLOC_HTTP=[::1]:6060");
  CHECK_EQ((int)config.http.kind, (int)HA_ADDRESS_IPV6);
  CHECK_EQ((int)config.http.port, 6060);
  config = parse_one("HALLOC_HTTP_TOKEN=abc-DEF~!");
  CHECK_STRING(config.http_token, "abc-DEF~!");
  CHECK(!config.is_http_token_malformed, "a good token is refused");
  CHECK_EQ(parse_one("HALLOC_HTTP_CMDLINE=1").http_cmdline, (int64_t)1);
  CHECK_EQ((int)parse_one("PATH=/").http.kind, (int)HA_ADDRESS_NONE);
  check_complaint("HALLOC_HTTP=6060x",
                  "halloc: HALLOC_HTTP=6060x: expected " HA_ADDRESS_TEXT_ACCEPTED "; the default is used\n");
  check_complaint("HALLOC_HTTP_CMDLINE=yes",
                  "halloc: HALLOC_HTTP_CMDLINE=yes: expected 0 or 1; the default is used\n");
}

TEST(a_malformed_token_is_not_printed_and_not_forgotten) {
  static const char *const bad[] = {"HALLOC_HTTP_TOKEN=", "HALLOC_HTTP_TOKEN=a b", "HALLOC_HTTP_TOKEN=a\n",
                                    "HALLOC_HTTP_TOKEN=\xc3\xa4"};
  for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct ha_config config = parse_one(bad[i]);
    CHECK(config.is_http_token_malformed && config.http_token[0] == '\0', "%s is taken", bad[i]);
    check_complaint(bad[i], "halloc: HALLOC_HTTP_TOKEN: expected 1 to 256 visible ASCII characters without spaces; "
                            "nothing is served\n");
  }
}

#define RATE_FORM ": expected an integer of at least 0 (bytes; 1 samples all, 0 none); the default is used\n"

TEST(malformed_rates_name_variable_value_and_form) {
  check_complaint("HALLOC_MEMPROFILERATE=", "halloc: HALLOC_MEMPROFILERATE=" RATE_FORM);
  check_complaint("HALLOC_MEMPROFILERATE=-1", "halloc: HALLOC_MEMPROFILERATE=-1" RATE_FORM);
  check_complaint("HALLOC_MEMPROFILERATE= 1", "halloc: HALLOC_MEMPROFILERATE= 1" RATE_FORM);
  check_complaint("HALLOC_MEMPROFILERATE=512k", "halloc: HALLOC_MEMPROFILERATE=512k" RATE_FORM);
  check_complaint("HALLOC_MEMPROFILERATE=0x10", "halloc: HALLOC_MEMPROFILERATE=0x10" RATE_FORM);
  check_complaint("HALLOC_MEMPROFILERATE=9223372036854775808",
                  "halloc: HALLOC_MEMPROFILERATE=9223372036854775808" RATE_FORM);
}

TEST(malformed_others_name_variable_value_and_form) {
  check_complaint("HALLOC_STACKDEPTH=0",
                  "halloc: HALLOC_STACKDEPTH=0: expected an integer from 1 to 1024; the default is used\n");
  check_complaint(
      "HALLOC_STACKDEPTH=1025",
      "halloc: HALLOC_STACKDEPTH=1025: expected an integer from 1 to 1024; the default is used\n");
  check_complaint("HALLOC_MEMSTATS=2", "halloc: HALLOC_MEMSTATS=2: expected 0 or 1; the default is used\n");
  check_complaint("HALLOC_MEMSTATS=yes",
                  "halloc: HALLOC_MEMSTATS=yes: expected 0 or 1; the default is used\n");
  check_complaint(
      "HALLOC_MUTEXPROFILEFRACTION=2147483648",
      "halloc: HALLOC_MUTEXPROFILEFRACTION=2147483648: expected an integer from 0 to 2147483647 (one of so "
      "many; 0 none); the default is used\n");
  check_complaint(
      "HALLOC_BLOCKPROFILERATE=-1",
      "halloc: HALLOC_BLOCKPROFILERATE=-1: expected an integer of at least 0 (nanoseconds; 1 all, 0 none); "
      "the default is used\n");
  check_complaint("HALLOC_UNWIND=FP",
                  "halloc: HALLOC_UNWIND=FP: expected auto, dwarf, fp or libgcc; the default is used\n");
  check_complaint(
      "HALLOC_MEMPROFILE=",
      "halloc: HALLOC_MEMPROFILE=: expected a path shorter than 4096 bytes; the default is used\n");
}

TEST(malformed_values_leave_the_default) {
  CHECK_EQ(parse_one("HALLOC_MEMPROFILERATE=1x").profile_rate, (int64_t)-7);
  CHECK_EQ(parse_one("HALLOC_STACKDEPTH=99999999999999999999").stack_depth, (int64_t)-7);
}

TEST(unknown_variables_are_named) {
  check_complaint("HALLOC_NOSUCH=1",
                  "halloc: HALLOC_NOSUCH: this version has no such variable; it is ignored\n");
  check_complaint("HALLOC_MEMPROFILERATES=1",
                  "halloc: HALLOC_MEMPROFILERATES: this version has no such variable; it is ignored\n");
  check_complaint("HALLOC_=1", "halloc: HALLOC_: this version has no such variable; it is ignored\n");
}

TEST(variables_of_others_are_none_of_our_business) {
  check_complaint("XHALLOC_MEMSTATS=x", "");
  check_complaint("HALLOCX=1", "");
  check_complaint("HALLOC_MEMSTATS", ""); /* no '=': not a setting */
}

TEST(the_last_of_two_settings_holds) {
  char *environment[] = {"HALLOC_MEMPROFILERATE=1", "HALLOC_MEMPROFILERATE=2", NULL};
  CHECK_EQ(parse(environment).profile_rate, (int64_t)2);
}

/* A name or value of any length gives one line that is cut, not a crash. */
static void check_long(size_t length, const char *prefix) {
  char *setting = calloc(1, length + 64);
  CHECK(setting != NULL, "no memory for the test");
  strcpy(setting, prefix);
  memset(setting + strlen(prefix), 'y', length);
  if (strchr(prefix, '=') == NULL) {
    strcat(setting, "=1");
  }
  char text[2 * HA_LOG_MAX];
  CHECK_EQ(test_capture(parse_and_return, setting, text, sizeof text), 0);
  size_t said = strlen(text);
  CHECK(said > 8 && said <= HA_LOG_MAX && text[said - 1] == '\n' && strchr(text, '\n') == text + said - 1,
        "%zu bytes were said about %zu: %s", said, length, text);
}

TEST(too_long_settings_give_one_cut_line) {
  check_long(100, "HALLOC_MEMSTATS=");
  check_long(100000, "HALLOC_MEMSTATS=");
  check_long(PATH_MAX, "HALLOC_MEMPROFILE=");
  check_long(100000, "HALLOC_Z");
}

TEST(the_longest_path_is_taken_and_one_more_is_not) {
  static char setting[64 + PATH_MAX] = "HALLOC_MEMPROFILE=";
  memset(setting + strlen(setting), 'p', PATH_MAX - 1);
  CHECK_EQ(strlen(parse_one(setting).profile_path), (size_t)PATH_MAX - 1);
  strcat(setting, "p");
  CHECK_EQ(strlen(parse_one(setting).profile_path), (size_t)0);
}

TEST(the_initial_environment_is_found) {
  setenv("HALLOC_MEMPROFILERATE", "12345", 1); /* in environ only: not what the process was started with */
  ha_config_load();
  CHECK(ha_config.profile_rate != 12345, "a later setenv was read");
}
