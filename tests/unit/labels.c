/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: labels that mix (two sets under one id, a merge that loses or swaps a value),
 * a key that Pyroscope, Parca or Prometheus refuse, text that makes a profile unreadable, a private key that
 * is stored, a program whose memory grows with every distinct value.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "base/config.h"
#include "base/log.h"
#include "labels/context.h"
#include "labels/set.h"
#include "labels/thread_name.h"
#include "tests/test.h"

#define THREADS 8

/* The set of up to eight labels: key, value, ..., NULL. */
static uint32_t set_of(const char *const *words) {
  struct ha_label_draft draft;
  ha_label_draft_begin(&draft);
  for (; words[0] != NULL; words += 2) {
    ha_label_draft_put(&draft, words[0], words[1]);
  }
  return ha_label_set_intern(&draft);
}
#define SET(...) set_of((const char *const[]){__VA_ARGS__, NULL})

/* "a=1,b=2" */
static const char *text_of(uint32_t set) {
  static char text[8192];
  size_t size = 0;
  const char *key, *value;
  text[0] = '\0';
  for (uint32_t i = 0; ha_label_set_item(set, i, &key, &value); i++) {
    size += (size_t)snprintf(text + size, sizeof text - size, "%s%s=%s", i == 0 ? "" : ",", key, value);
  }
  return text;
}

static const char *value_of(uint32_t set, const char *wanted) {
  const char *key, *value;
  for (uint32_t i = 0; ha_label_set_item(set, i, &key, &value); i++) {
    if (strcmp(key, wanted) == 0) {
      return value;
    }
  }
  return "(none)";
}

TEST(equal_content_is_one_set_in_any_order) {
  uint32_t set = SET("b", "2", "a", "1");
  CHECK_STRING(text_of(set), "a=1,b=2");
  CHECK_EQ(SET("a", "1", "b", "2"), set);
  CHECK_EQ(ha_label_counts().sets, (uint64_t)1);
  CHECK(SET("a", "1", "b", "3") != set && SET("a", "1") != set, "the content makes no difference");
  CHECK(SET("ab", "c") != SET("a", "bc"), "where a key ends makes no difference");
}

TEST(no_label_is_the_empty_set) {
  CHECK_EQ(set_of((const char *const[]){NULL}), HA_LABEL_SET_EMPTY);
  CHECK_EQ(SET("a", ""), HA_LABEL_SET_EMPTY);
  CHECK_EQ(SET("a", NULL), HA_LABEL_SET_EMPTY);
  CHECK_STRING(text_of(HA_LABEL_SET_EMPTY), "");
  CHECK_EQ(ha_label_counts().sets, (uint64_t)0);
}

TEST(the_later_of_two_values_wins) {
  CHECK_STRING(text_of(SET("a", "1", "b", "2", "a", "3")), "a=3,b=2");
  CHECK_STRING(text_of(SET("a", "1", "b", "2", "a", "")), "b=2");
  CHECK_STRING(text_of(SET("a", "1", "b", "2", "a", "", "c", "4", "a", "5")), "a=5,b=2,c=4");
}

TEST(keys_that_a_consumer_refuses_are_left_out_and_counted) {
  static const char longest[] = "k234567890123456789012345678901234567890123456789012345678901234";
  static const char too_long[] = "k2345678901234567890123456789012345678901234567890123456789012345";
  static const char *const bad[] = {"",         "1a",       "a-b",           "a.b",   "a b",
                                    "a\n",      "\xc3\xa4", "bytes",         "age",   "request",
                                    "lifetime", "__name__", "halloc_labels", too_long};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    uint32_t set = SET("ok", "1", bad[i], "2");
    CHECK(strcmp(text_of(set), "ok=1") == 0, "key \"%s\" gives %s", bad[i], text_of(set));
    CHECK_EQ(ha_label_counts().refused, (uint64_t)i + 1);
  }
  CHECK_EQ(sizeof longest - 1, (size_t)HA_LABEL_KEY_MAX);
  CHECK_STRING(value_of(SET(longest, "x"), longest), "x");
  CHECK_STRING(text_of(SET("A_z0", "1", "_", "2", "bytes_", "3")), "A_z0=1,_=2,bytes_=3");
}

TEST(values_become_printable_utf8_and_are_cut_between_characters) {
  CHECK_STRING(text_of(SET("k", "gr\xc3\xbc\xc3\x9f")), "k=gr\xc3\xbc\xc3\x9f");
  CHECK_STRING(text_of(SET("k", "a\xff\xc3z\n\x01\x7f")), "k=a??z???");
  CHECK_STRING(text_of(SET("k", "\xed\xa0\x80")), "k=???"); /* a surrogate */
  char value[HA_LABEL_VALUE_MAX + 10];
  for (size_t size = HA_LABEL_VALUE_MAX - 4; size <= HA_LABEL_VALUE_MAX + 1; size++) {
    memset(value, 'x', sizeof value);
    strcpy(value + size, "\xe2\x82\xac"); /* three bytes */
    size_t expected = size + 3 <= HA_LABEL_VALUE_MAX ? size + 3 : size;
    expected = expected > HA_LABEL_VALUE_MAX ? HA_LABEL_VALUE_MAX : expected;
    const char *stored = value_of(SET("k", value), "k");
    CHECK_EQ(strlen(stored), expected);
    CHECK(memcmp(stored, value, expected) == 0, "cut to %s", stored);
  }
}

TEST(a_set_has_sixteen_labels) {
  static char keys[40][4];
  struct ha_label_draft draft;
  ha_label_draft_begin(&draft);
  for (int i = 0; i < 40; i++) {
    snprintf(keys[i], sizeof keys[i], "k%02d", i);
    ha_label_draft_put(&draft, keys[i], "v");
  }
  ha_label_draft_put(&draft, "k07", "w");
  uint32_t set = ha_label_set_intern(&draft);
  CHECK_STRING(text_of(set), "k00=v,k01=v,k02=v,k03=v,k04=v,k05=v,k06=v,k07=w,"
                             "k08=v,k09=v,k10=v,k11=v,k12=v,k13=v,k14=v,k15=v");
  CHECK_EQ(ha_label_counts().refused, (uint64_t)24);
  uint32_t merged = ha_label_set_merge(set, SET("z1", "1", "z2", "2", "k01", "x"));
  CHECK_STRING(text_of(merged), "k00=v,k01=x,k02=v,k03=v,k04=v,k05=v,k06=v,k07=w,"
                                "k08=v,k09=v,k10=v,k11=v,k12=v,k13=v,z1=1,z2=2");
  CHECK_EQ(ha_label_counts().refused, (uint64_t)26);
}

TEST(merging_is_key_by_key_and_the_added_wins) {
  uint32_t outer = SET("a", "1", "b", "2"), inner = SET("b", "3", "c", "4");
  uint32_t merged = ha_label_set_merge(outer, inner);
  CHECK_STRING(text_of(merged), "a=1,b=3,c=4");
  CHECK_EQ(merged, SET("a", "1", "b", "3", "c", "4"));
  CHECK_STRING(text_of(ha_label_set_merge(inner, outer)), "a=1,b=2,c=4");
  CHECK_EQ(ha_label_set_merge(outer, inner), merged);
  CHECK_EQ(ha_label_set_merge(0, inner), inner);
  CHECK_EQ(ha_label_set_merge(outer, 0), outer);
  CHECK_EQ(ha_label_set_merge(outer, outer), outer);
}

/* More pairs than the table of merges has places, twice: what was forgotten must come out the same. */
TEST(merges_are_right_whether_remembered_or_not) {
  enum { SETS = 150 };
  static uint32_t outer[SETS], inner[SETS], merged[SETS][SETS];
  char text[16], expected[64];
  for (int i = 0; i < SETS; i++) {
    snprintf(text, sizeof text, "%d", i);
    outer[i] = SET("outer", text, "both", "o");
    inner[i] = SET("inner", text, "both", "i");
  }
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < SETS; i++) {
      for (int j = 0; j < SETS; j++) {
        uint32_t set = ha_label_set_merge(outer[i], inner[j]);
        snprintf(expected, sizeof expected, "both=i,inner=%d,outer=%d", j, i);
        CHECK_STRING(text_of(set), expected);
        CHECK(round == 0 || merged[i][j] == set, "another id for %s", expected);
        merged[i][j] = set;
      }
    }
  }
  CHECK_EQ(ha_label_counts().sets, (uint64_t)(2 * SETS + SETS * SETS));
}

TEST(what_is_no_id_is_taken_for_no_labels) {
  uint32_t set = SET("a", "1");
  SET("b", "2");
  for (uint32_t id = 0; id < 200; id++) {
    const char *text = text_of(id);
    CHECK(id == set || text[0] == '\0' || strcmp(text, "b=2") == 0, "id %u gives %s", id, text);
  }
  CHECK_STRING(text_of(0xffffffffu), "");
  CHECK_STRING(text_of(0x7fffffu), "");
  CHECK_EQ(ha_label_set_merge(0xffffffffu, set), set);
  CHECK_EQ(ha_label_set_merge(set, 0xfffffff0u), set);
}

/* ---- caps ---- */

#define MANY 1000000

TEST_WITHIN(120, a_million_values_are_bounded_and_the_overflow_is_seen) {
  char text[32];
  uint32_t handler = SET("handler", "login"), other = 0;
  uint64_t others = 0;
  for (int i = 0; i < MANY; i++) {
    snprintf(text, sizeof text, "user%d", i);
    uint32_t set = SET("user", text, "tier", "gold");
    if (strcmp(value_of(set, "user"), text) != 0) {
      CHECK_STRING(text_of(set), "tier=[other],user=[other]");
      CHECK(other == 0 || other == set, "two sets for the rest");
      other = set;
      others++;
    }
  }
  struct ha_label_counts counts = ha_label_counts();
  test_note("%lu sets, %lu bytes, %lu overflowed", counts.sets, counts.bytes, counts.overflowed);
  CHECK_EQ(counts.overflowed, others);
  CHECK(others > MANY - HA_LABEL_SETS_MAX, "only %lu overflowed", others);
  CHECK(counts.sets > HA_LABEL_SETS_MAX / 2 && counts.sets <= HA_LABEL_SETS_MAX, "%lu sets", counts.sets);
  CHECK(counts.bytes <= HA_LABEL_BYTES_MAX, "%lu bytes", counts.bytes);
  /* What was there stays as it was, and what is known still merges: the outer labels are kept. */
  CHECK_EQ(SET("handler", "login"), handler);
  CHECK_STRING(text_of(ha_label_set_merge(handler, other)), "handler=login,tier=[other],user=[other]");
  CHECK_STRING(text_of(ha_label_set_merge(handler, SET("user", "user0", "tier", "gold"))),
               "handler=login,tier=[other],user=[other]");
}

TEST_WITHIN(120, the_room_kept_back_is_bounded_too) {
  char key[32], text[32];
  uint32_t set = 0;
  for (int i = 0; i < 2 * HA_LABEL_SETS_MAX; i++) {
    snprintf(key, sizeof key, "key%d", i);
    snprintf(text, sizeof text, "%d", i);
    set = SET(key, text);
  }
  CHECK_STRING(text_of(set), "halloc_labels=[other]");
  CHECK_EQ(set, HA_LABEL_SET_OTHER);
  struct ha_label_counts counts = ha_label_counts();
  CHECK_EQ(counts.sets, (uint64_t)HA_LABEL_SETS_MAX);
  CHECK_EQ(counts.overflowed, (uint64_t)(2 * HA_LABEL_SETS_MAX - HA_LABEL_SETS_MAX / 16 * 15));
  CHECK_EQ(ha_label_set_merge(set, set), set);
  CHECK_STRING(text_of(ha_label_set_merge(SET("key1", "1"), set)), "halloc_labels=[other]");
}

TEST_WITHIN(120, the_bytes_are_bounded) {
  char value[HA_LABEL_VALUE_MAX + 1];
  memset(value, 'x', sizeof value);
  value[HA_LABEL_VALUE_MAX] = '\0';
  for (int i = 0; i < 60000; i++) {
    snprintf(value, 9, "%08d", i);
    value[8] = '-';
    SET("a", value, "b", value, "c", value, "d", value);
  }
  struct ha_label_counts counts = ha_label_counts();
  test_note("%lu sets, %lu bytes", counts.sets, counts.bytes);
  CHECK(counts.bytes <= HA_LABEL_BYTES_MAX && counts.bytes > HA_LABEL_BYTES_MAX / 16 * 15 - 4096, "%lu bytes",
        counts.bytes);
  CHECK(counts.overflowed > 0, "no overflow");
}

/* ---- threads ---- */

#define SHARED 5000

static uint32_t seen[THREADS][SHARED];
static pthread_barrier_t start;

static void *intern_all(void *arg) {
  size_t thread = (size_t)arg;
  char text[32];
  uint32_t outer = SET("outer", "o");
  pthread_barrier_wait(&start);
  for (unsigned i = 0; i < SHARED; i++) {
    unsigned number = thread % 2 == 0 ? i : SHARED - 1 - i;
    snprintf(text, sizeof text, "%u", number);
    seen[thread][number] = ha_label_set_merge(outer, SET("number", text));
  }
  return NULL;
}

TEST(eight_threads_get_the_same_ids) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&start, NULL, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, intern_all, (void *)i), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  char expected[64];
  for (unsigned number = 0; number < SHARED; number++) {
    for (int thread = 0; thread < THREADS; thread++) {
      CHECK(seen[thread][number] == seen[0][number], "thread %d has another id for %u", thread, number);
    }
    snprintf(expected, sizeof expected, "number=%u,outer=o", number);
    CHECK_STRING(text_of(seen[0][number]), expected);
  }
  CHECK_EQ(ha_label_counts().sets, (uint64_t)(2 * SHARED + 1));
}

/* Side by side at every set, so that they are often at the same one. */
#define STEPS 30000

static uint32_t in_step[2][STEPS];
static int step[2]; /* atomic */

static void *intern_in_step(void *arg) {
  size_t thread = (size_t)arg;
  char text[32];
  for (int i = 0; i < STEPS; i++) {
    snprintf(text, sizeof text, "%d", i);
    __atomic_store_n(&step[thread], i + 1, __ATOMIC_SEQ_CST);
    for (int turns = 0; __atomic_load_n(&step[1 - thread], __ATOMIC_SEQ_CST) <= i; turns++) {
      if (turns > 1000) {
        sched_yield();
      }
    }
    in_step[thread][i] = SET("number", text);
  }
  return NULL;
}

TEST(two_threads_in_step_get_the_same_ids) {
  pthread_t threads[2];
  for (size_t i = 0; i < 2; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, intern_in_step, (void *)i), 0);
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
  }
  for (int i = 0; i < STEPS; i++) {
    CHECK(in_step[0][i] == in_step[1][i], "set %d has two ids", i);
  }
  CHECK_EQ(ha_label_counts().sets, (uint64_t)STEPS);
}

/* ---- HALLOC_LABEL_KEYS ---- */

static void parse(const char *setting) {
  char *environment[] = {(char *)(uintptr_t)setting, NULL};
  ha_config_load();
  ha_config_parse(&ha_config, environment);
}

TEST(only_listed_keys_are_stored) {
  parse("HALLOC_LABEL_KEYS=handler,tier");
  CHECK_STRING(text_of(SET("handler", "login", "user", "joe", "tie", "x", "tier", "gold", "tiers", "y")),
               "handler=login,tier=gold");
  CHECK_EQ(SET("user", "joe"), HA_LABEL_SET_EMPTY);
  CHECK_EQ(ha_label_counts().sets, (uint64_t)1);
  CHECK_EQ(ha_label_counts().refused, (uint64_t)0);
}

TEST(an_empty_list_of_keys_keeps_all_out) {
  parse("HALLOC_LABEL_KEYS=");
  CHECK_EQ(SET("user", "joe"), HA_LABEL_SET_EMPTY);
}

/* ---- HALLOC_LABEL_THREAD ---- */

TEST(the_name_of_a_thread_is_a_label_beneath_the_others) {
  uint32_t user = SET("handler", "login"), own = SET("thread", "mine", "handler", "login");
  errno = 77;
  pthread_setname_np(pthread_self(), "worker \xff 1");
  CHECK_STRING(text_of(ha_labels_with_thread(user)), "handler=login,thread=worker ? 1");
  CHECK_EQ(ha_labels_with_thread(user), ha_labels_with_thread(user));
  CHECK_STRING(text_of(ha_labels_with_thread(HA_LABEL_SET_EMPTY)), "thread=worker ? 1");
  CHECK_EQ(ha_labels_with_thread(own), own);
  CHECK_EQ(errno, 77);
  parse("HALLOC_LABEL_KEYS=handler");
  CHECK_EQ(ha_labels_with_thread(user), user);
}

static void parse_setting(void *setting) {
  parse(setting);
}

TEST(a_malformed_list_gives_one_line) {
  static const char *const bad[] = {"a,", ",a", "a,,b", "a b", "a-b", "a;b", "1", "\xc3\xa4"};
  char setting[1500], expected[2 * HA_LOG_MAX], text[2 * HA_LOG_MAX];
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    snprintf(setting, sizeof setting, "HALLOC_LABEL_KEYS=%s", bad[i]);
    snprintf(expected, sizeof expected,
             "halloc: %s: expected names of letters, digits and _ with commas between, at most 1023 bytes; "
             "the default "
             "is used\n",
             setting);
    CHECK_EQ(test_capture(parse_setting, setting, text, sizeof text), 0);
    CHECK_STRING(text, expected);
  }
  memset(setting, 'k', sizeof setting);
  memcpy(setting, "HALLOC_LABEL_KEYS=", 18);
  setting[18 + HA_LABEL_KEY_MAX] = '\0';
  CHECK_EQ(test_capture(parse_setting, setting, text, sizeof text), 0);
  CHECK_STRING(text, "");
  setting[18 + HA_LABEL_KEY_MAX] = 'k';
  setting[18 + HA_LABEL_KEY_MAX + 1] = '\0';
  CHECK_EQ(test_capture(parse_setting, setting, text, sizeof text), 0);
  CHECK(strstr(text, "at most 1023") != NULL, "a key too long is taken: %s", text);
}
