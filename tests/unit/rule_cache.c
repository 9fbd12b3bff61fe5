/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: frames that are wrong because a rule of another address was taken for this
 * one's, or because a rule outlived the library it was made for; sampling that is slow because rules are
 * found again and again.
 *
 * The addresses are random ones in libc's code.
 */
#include "sampler/rule_cache.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "tests/test.h"

#define SEED 20261206
#define SMALLEST_SLOTS 2048
#define LARGEST_SHIFT 17
#define ADDRESSES_MAX 60000
#define THREADS 4

static uintptr_t addresses[ADDRESSES_MAX];
static struct ha_rule expected[ADDRESSES_MAX];

/* The part of a rule that is kept. */
static bool is_same(struct ha_rule a, struct ha_rule b) {
  return a.kind == b.kind && a.cfa_offset == b.cfa_offset && a.frame_place == b.frame_place &&
         a.frame_offset == b.frame_offset;
}

static void check_same(uintptr_t pc, struct ha_rule rule, struct ha_rule right) {
  CHECK(is_same(rule, right), "%#lx: kind %d cfa %d frame %d %d instead of kind %d cfa %d frame %d %d",
        (unsigned long)pc, rule.kind, rule.cfa_offset, rule.frame_place, rule.frame_offset, right.kind,
        right.cfa_offset, right.frame_place, right.frame_offset);
}

/* The text of libc. */
static void find_code(uintptr_t *start, uintptr_t *end) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[512];
  CHECK(maps != NULL, "no /proc/self/maps");
  *start = *end = 0;
  while (*end == 0 && fgets(line, sizeof line, maps) != NULL) {
    unsigned long from, to;
    char rights[8];
    if (strstr(line, "/libc.so") != NULL && sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 &&
        rights[2] == 'x') {
      *start = from;
      *end = to;
    }
  }
  fclose(maps);
  CHECK(*end > *start, "no code of libc in /proc/self/maps");
}

static void choose_addresses(size_t count) {
  uintptr_t start, end;
  find_code(&start, &end);
  size_t step = (end - start) / count;
  uint64_t random = SEED;
  CHECK(step > 0, "libc has only %zu bytes", end - start);
  for (size_t i = 0; i < count; i++) {
    addresses[i] = start + i * step + test_random(&random) % step;
    expected[i] = ha_rule_find(addresses[i]);
  }
}

/* Returns how many rules had to be found. */
static uint64_t look_up_all(size_t count) {
  uint64_t before = ha_rule_misses();
  for (size_t i = 0; i < count; i++) {
    check_same(addresses[i], ha_rule_lookup(addresses[i]), expected[i]);
  }
  return ha_rule_misses() - before;
}

static size_t peek_all(size_t count) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t word = ha_rule_peek(addresses[i]);
    if (word != 0) {
      check_same(addresses[i], ha_rule_unpack(word), expected[i]);
      found++;
    }
  }
  return found;
}

TEST(an_empty_cache_knows_nothing) {
  choose_addresses(100);
  CHECK(ha_rule_table == NULL, "a table before the first lookup");
  CHECK_EQ(peek_all(100), (size_t)0);
  CHECK_EQ(look_up_all(100), (uint64_t)100);
  CHECK_EQ(look_up_all(100), (uint64_t)0);
  CHECK_EQ((size_t)1 << ha_rule_table->shift, (size_t)SMALLEST_SLOTS);
  CHECK(peek_all(100) >= 95, "only %zu of 100 are in their first group", peek_all(100));
}

/* Until the table does not grow on the way, which costs it all rules. */
static void look_up_until_at_rest(size_t count) {
  const struct ha_rule_table *table;
  do {
    table = ha_rule_table;
    look_up_all(count);
  } while (ha_rule_table != table);
}

static void check_growth(size_t count) {
  choose_addresses(count);
  look_up_until_at_rest(count);
  uint64_t misses = look_up_all(count);
  size_t peeked = peek_all(count);
  test_note("seed %d: %zu rules in 2^%u slots, %zu in their first group", SEED, count, ha_rule_table->shift,
            peeked);
  CHECK(misses * 1000 <= count, "%lu of %zu rules are found again and again", misses, count);
  CHECK((size_t)1 << ha_rule_table->shift > count, "%zu rules in 2^%u slots", count, ha_rule_table->shift);
  CHECK(peeked * 10 >= count * 9, "only %zu of %zu are in their first group", peeked, count);
}

TEST(rules_that_outgrow_the_smallest_table_are_kept) {
  check_growth(SMALLEST_SLOTS + 1000);
}

TEST(rules_that_outgrow_all_but_the_largest_table_are_kept) {
  check_growth(33000);
}

/* Those without a slot are found anew each time, and right. */
TEST(the_largest_table_grows_no_more) {
  choose_addresses(ADDRESSES_MAX);
  look_up_until_at_rest(ADDRESSES_MAX);
  const struct ha_rule_table *table = ha_rule_table;
  CHECK_EQ(table->shift, (unsigned)LARGEST_SHIFT);
  uint64_t misses = look_up_all(ADDRESSES_MAX);
  test_note("%d rules: %lu without a slot", ADDRESSES_MAX, misses);
  CHECK(misses <= ADDRESSES_MAX / 20, "%lu of %d rules have no slot", misses, ADDRESSES_MAX);
  CHECK(ha_rule_table == table, "the table was replaced again");
}

TEST(after_a_change_of_code_every_rule_is_found_anew) {
  const size_t count = 4000;
  choose_addresses(count);
  look_up_until_at_rest(count);
  for (int i = 0; i < 3; i++) {
    ha_rules_forget();
    CHECK_EQ(peek_all(count), (size_t)0);
    CHECK_EQ(look_up_all(count), (uint64_t)count);
    CHECK_EQ(look_up_all(count), (uint64_t)0);
  }
}

/* ---- Rules made by hand: any number is an address ---- */

static unsigned version; /* of what the resolver answers */

static struct ha_rule answer_with_version(uintptr_t pc) {
  return (struct ha_rule){
      .kind = HA_RULE_STACK, .cfa_offset = (int32_t)(pc % 1000), .frame_offset = 8 * (int32_t)version};
}

static void check_version(void) {
  for (uintptr_t pc = 1; pc < 500; pc++) {
    check_same(pc, ha_rule_lookup(pc), answer_with_version(pc));
  }
}

/* Rules carry 20 bits of the number of changes. */
TEST(a_rule_does_not_come_back_when_the_count_of_changes_comes_round) {
  const uint32_t round = (uint32_t)1 << HA_RULE_GENERATION_BITS;
  static const uint32_t changes[] = {1, 1, 5, 1u << HA_RULE_GENERATION_BITS,
                                     (1u << HA_RULE_GENERATION_BITS) - 1};
  ha_rules_resolve_with(answer_with_version);
  for (size_t i = 0; i < HA_ARRAY_LEN(changes); i++) {
    check_version();
    version++;
    for (uint32_t k = 0; k < changes[i]; k++) {
      ha_rules_forget();
    }
    check_version();
  }
  CHECK(ha_rule_generation > 2 * round, "the count did not come round");
}

static struct ha_rule given;

static struct ha_rule answer_given(uintptr_t pc) {
  (void)pc;
  return given;
}

static const int32_t cfa_offsets[] = {0, 8, -8, 1, -1, 4096, (1 << 23) - 1, -(1 << 23)};
static const int32_t frame_offsets[] = {0, -16, 8, -8, 8 * ((1 << 13) - 1), -8 * (1 << 13)};

TEST(every_rule_survives_packing) {
  uintptr_t pc = 1;
  ha_rules_resolve_with(answer_given);
  for (int kind = HA_RULE_STACK; kind <= HA_RULE_UNKNOWN; kind++) {
    for (int place = HA_FRAME_KEPT; place <= HA_FRAME_AT_FRAME; place++) {
      for (size_t i = 0; i < HA_ARRAY_LEN(cfa_offsets) * HA_ARRAY_LEN(frame_offsets); i++) {
        given = (struct ha_rule){.kind = (enum ha_rule_kind)kind,
                                 .cfa_offset = cfa_offsets[i / HA_ARRAY_LEN(frame_offsets)],
                                 .frame_place = (enum ha_frame_place)place,
                                 .frame_offset = frame_offsets[i % HA_ARRAY_LEN(frame_offsets)]};
        check_same(pc, ha_rule_lookup(pc), given);
        uint64_t misses = ha_rule_misses();
        check_same(pc, ha_rule_lookup(pc), given);
        CHECK_EQ(ha_rule_misses(), misses);
        pc++;
      }
    }
  }
}

static struct ha_rule answer_during_a_change(uintptr_t pc) {
  struct ha_rule rule = answer_with_version(pc);
  ha_rules_forget();
  version++;
  return rule;
}

TEST(a_rule_found_during_a_change_is_not_kept) {
  ha_rules_resolve_with(answer_during_a_change);
  for (unsigned i = 0; i < 10; i++) {
    uint64_t misses = ha_rule_misses();
    CHECK_EQ(ha_rule_lookup(77).frame_offset, 8 * (int32_t)i);
    CHECK_EQ(ha_rule_misses(), misses + 1);
  }
}

static struct ha_rule answer_by_looking_up(uintptr_t pc) {
  return ha_rule_lookup(pc);
}

TEST(a_busy_resolver_is_not_waited_for) {
  choose_addresses(500);
  ha_rules_resolve_with(answer_by_looking_up);
  CHECK_EQ(look_up_all(500), (uint64_t)1000);
  CHECK_EQ(look_up_all(500), (uint64_t)0);
}

/* ---- Threads ---- */

static int running; /* atomic */

static void *look_up_again_and_again(void *arg) {
  uint64_t random = (uintptr_t)arg;
  for (int i = 0; i < 400000; i++) {
    size_t k = test_random(&random) % ADDRESSES_MAX;
    k = i % 4 == 0 ? k : k % 1000; /* some places are hot, and the table grows all the while */
    uint64_t word = ha_rule_peek(addresses[k]);
    check_same(addresses[k], word != 0 ? ha_rule_unpack(word) : ha_rule_lookup(addresses[k]), expected[k]);
  }
  __atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

TEST(threads_find_the_right_rules_while_the_table_grows_and_is_emptied) {
  pthread_t threads[THREADS];
  choose_addresses(ADDRESSES_MAX);
  ha_store_release(&running, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, look_up_again_and_again, (void *)i);
  }
  for (unsigned round = 0; ha_load_acquire(&running) > 0; round++) {
    look_up_all(2000);
    ha_rules_forget();
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

/* Pairs of addresses that begin in one group of the largest table. */
static size_t partners[ADDRESSES_MAX][2];
static size_t pair_count;
static size_t turn; /* atomic: which pair both may look up */
static size_t done; /* atomic: how many lookups of pairs are done */

static void make_pairs(void) {
  static size_t first[((size_t)1 << LARGEST_SHIFT) / HA_RULE_GROUP]; /* in that group, plus one */
  choose_addresses(ADDRESSES_MAX);
  for (size_t i = 0; i < ADDRESSES_MAX; i++) {
    size_t *known = &first[ha_rule_home(addresses[i], LARGEST_SHIFT) / HA_RULE_GROUP];
    if (*known != 0 && *known <= ADDRESSES_MAX) {
      partners[pair_count][0] = *known - 1;
      partners[pair_count++][1] = i;
      *known = ADDRESSES_MAX + 1;
    } else if (*known == 0) {
      *known = i + 1;
    }
  }
}

static void *look_up_one_of_each_pair(void *arg) {
  for (size_t pair = 0; pair < pair_count; pair++) {
    size_t i = partners[pair][(uintptr_t)arg];
    while (ha_load_acquire(&turn) < pair) {
      sched_yield();
    }
    check_same(addresses[i], ha_rule_lookup(addresses[i]), expected[i]);
    if (__atomic_add_fetch(&done, 1, __ATOMIC_ACQ_REL) == 2 * (pair + 1)) {
      ha_store_release(&turn, pair + 1);
    }
  }
  return NULL;
}

TEST(two_threads_claim_slots_of_one_group_at_once) {
  pthread_t threads[2];
  make_pairs();
  ha_rule_table = ha_os_reserve(
      ha_align_up(sizeof *ha_rule_table + (sizeof(struct ha_rule_slot) << LARGEST_SHIFT), HA_OS_PAGE));
  CHECK(ha_rule_table != NULL, "no memory");
  ha_rule_table->shift = LARGEST_SHIFT;
  for (size_t i = 0; i < 2; i++) {
    pthread_create(&threads[i], NULL, look_up_one_of_each_pair, (void *)i);
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
  }
  test_note("%zu pairs", pair_count);
  for (size_t i = 0; i < 2 * pair_count; i++) {
    size_t k = partners[i / 2][i % 2];
    check_same(addresses[k], ha_rule_lookup(addresses[k]), expected[k]);
  }
}
