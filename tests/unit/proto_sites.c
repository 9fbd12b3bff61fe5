/* SPDX-License-Identifier: MIT */
/*
 * Lists the sites of small invented profiles whose innermost frames lie in this program or nowhere.
 *
 * What could break a user here: the line about an exceeded limit blames the wrong function, because bytes of
 * other rows of it are left out, or because what was freed is counted; or the line is cut off before its end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/log.h"
#include "proto/sites.h"

#define MIB ((int64_t)1 << 20)
#define NOWHERE ((uintptr_t)0x1001)
#define ROWS_MAX 64

static int failures;

#define CHECK(condition, reason)                                                                             \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      printf("%s:%d: %s: %s (%s)\n", __FILE__, __LINE__, __func__, (reason), #condition);                    \
      failures++;                                                                                            \
    }                                                                                                        \
  } while (0)

/* Functions with different bodies, so that the linker cannot fold them into one; the compiler keeps them. */
#define SITE(name, factor)                                                                                   \
  HA_NOINLINE __attribute__((used)) static unsigned name(volatile unsigned *value) {                         \
    for (unsigned i = 0; i < (factor); i++) {                                                                \
      *value = *value * (factor) + i;                                                                        \
    }                                                                                                        \
    return *value;                                                                                           \
  }

#define LONG_NAME a_name_of_seventy_characters_that_goes_on_and_on_until_it_is_long_enough_x
#define LONG_NAME_CUT "a_name_of_seventy_characters_that_goes_on_and_on_until_it_is_..."

SITE(site_a, 3u)
SITE(site_b, 5u)
SITE(site_c, 7u)
SITE(LONG_NAME, 9u)

/* Addresses behind the first instruction, as return addresses are. */
#define INSIDE(name, offset) ((uintptr_t)(name) + (offset))

static uintptr_t stacks[ROWS_MAX][2];
static struct ha_row rows[ROWS_MAX];
static uint32_t row_count;

static void visit_rows(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  for (uint32_t i = 0; i < row_count; i++) {
    fn(&rows[i], arg);
  }
}

static const struct ha_profile profile = {
    .name = "heap",
    .types = {{"alloc_objects", "count"},
              {"alloc_space", "bytes"},
              {"inuse_objects", "count"},
              {"inuse_space", "bytes"}},
    .type_count = 4,
    .has_sampled = true,
    .visit = visit_rows,
};

/* A row whose allocated bytes, and sampled ones, would lead to another order. */
static void add_row(uintptr_t innermost, int64_t bytes) {
  uintptr_t *stack = stacks[row_count];
  stack[0] = innermost;
  stack[1] = INSIDE(site_c, 5); /* not innermost: must not matter */
  rows[row_count++] = (struct ha_row){.frames = stack,
                                      .frame_count = 2,
                                      .block_size = 64,
                                      .values = {1, 1000 * MIB - bytes, 1, bytes},
                                      .sampled = {1, 64, 1, 64}};
}

static char text[HA_LOG_MAX];

/* The list of the rows so far, which are dropped. */
static const char *list(void) {
  struct ha_blob blob = {NULL, 0};
  struct ha_scratch *scratch = ha_scratch_new();
  CHECK(ha_sites_encode(&profile, scratch, &blob) == 0, "encodes");
  CHECK(blob.size < sizeof text, "fits a line");
  ha_format(text, sizeof text, "%s",
            blob.size > 0 ? ha_scratch_copy_text(scratch, blob.data, blob.size) : "");
  ha_scratch_destroy(scratch);
  row_count = 0;
  return text;
}

#define CHECK_LIST(expected, reason)                                                                         \
  do {                                                                                                       \
    const char *got = list();                                                                                \
    CHECK(strcmp(got, (expected)) == 0, (reason));                                                           \
    if (strcmp(got, (expected)) != 0) {                                                                      \
      printf("  got \"%s\"\n", got);                                                                         \
    }                                                                                                        \
  } while (0)

static void largest_first(void) {
  add_row(INSIDE(site_a, 5), 2 * MIB);
  add_row(INSIDE(site_b, 5), 30 * MIB);
  add_row(INSIDE(site_c, 5), 4 * MIB);
  CHECK_LIST("site_b 30.0 MiB, site_c 4.0 MiB, site_a 2.0 MiB (3 of 3)", "order");
}

static void rows_of_a_function_are_summed(void) {
  add_row(INSIDE(site_a, 5), 4 * MIB);
  add_row(INSIDE(site_b, 5), 10 * MIB);
  add_row(INSIDE(site_a, 5), 4 * MIB);
  add_row(INSIDE(site_a, 9), 4 * MIB + MIB / 2); /* another call in it */
  CHECK_LIST("site_a 12.5 MiB, site_b 10.0 MiB (2 of 2)", "all rows and all addresses of a function");
}

static void only_the_living_count(void) {
  CHECK_LIST("", "no rows");
  add_row(INSIDE(site_a, 5), 0);
  CHECK_LIST("", "all freed");
  add_row(INSIDE(site_a, 5), 0);
  add_row(INSIDE(site_b, 5), 1);
  CHECK_LIST("site_b 0.0 MiB (1 of 1)", "a site without bytes is none");
}

static void sizes_are_rounded(void) {
  CHECK(ha_mib_tenths(0) == 0 && ha_mib_tenths((uint64_t)MIB / 20 + 1) == 1, "up above the half");
  CHECK(ha_mib_tenths((uint64_t)MIB / 20) == 0, "else down");
  CHECK(ha_mib_tenths(12 * (uint64_t)MIB - 1) == 120, "with a carry");
  CHECK(ha_mib_tenths(UINT64_MAX) == UINT64_C(175921860444160), "no overflow");
}

static void ten_at_most(void) {
  char expected[HA_LOG_MAX];
  size_t length = 0;
  for (unsigned i = 0; i < 12; i++) {
    add_row(NOWHERE + i * 16, (int64_t)(i + 1) * MIB);
  }
  for (unsigned i = 0; i < HA_SITES_MAX; i++) {
    length += ha_format(expected + length, sizeof expected - length, "%s0x%lx %u.0 MiB", i > 0 ? ", " : "",
                        NOWHERE - 1 + (11 - i) * 16, 12 - i);
  }
  ha_format(expected + length, sizeof expected - length, " (10 of 12)");
  CHECK_LIST(expected, "the ten largest, and how many there are");
}

static void frames_that_are_no_code(void) {
  add_row(HA_FRAME_OVERFLOW, 3 * MIB);
  add_row(HA_FRAME_UNKNOWN, 1 * MIB);
  add_row(0, 4 * MIB);
  rows[2].frame_count = 0;
  CHECK_LIST("[unknown] 5.0 MiB, [overflow] 3.0 MiB (2 of 2)", "synthetic frames have names");
}

/* Code in a file that is no program: where it is in the file. Code in no file: just the address. */
static void addresses_without_a_symbol(void) {
  char expected[HA_LOG_MAX];
  long page = sysconf(_SC_PAGESIZE);
  int fd = memfd_create("a file of code", MFD_CLOEXEC);
  CHECK(fd >= 0 && ftruncate(fd, 2 * page) == 0, "a file in memory");
  void *code = mmap(NULL, (size_t)page, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, page);
  CHECK(code != MAP_FAILED, "mapped as code");
  add_row((uintptr_t)code + 6, 8 * MIB);
  add_row((uintptr_t)code + 8, 4 * MIB);
  add_row(NOWHERE, 2 * MIB);
  ha_format(expected, sizeof expected,
            "memfd:a file of code+0x%lx 8.0 MiB, memfd:a file of code+0x%lx 4.0 MiB, 0x%lx 2.0 MiB (3 of 3)",
            page + 5, page + 7, NOWHERE - 1);
  CHECK_LIST(expected, "the file and the offset, or the bare address");
  munmap(code, (size_t)page);
  close(fd);
}

static void long_names_are_cut(void) {
  add_row(INSIDE(LONG_NAME, 5), 1 * MIB);
  CHECK_LIST(LONG_NAME_CUT " 1.0 MiB (1 of 1)", "to HA_SITE_NAME_MAX");
  CHECK(sizeof LONG_NAME_CUT - 1 == HA_SITE_NAME_MAX, "which this name is");
}

/* Ten names and numbers as long as they get, in the sentence that goes round them. */
static void the_longest_text_fits_a_line(void) {
  size_t sentence =
      ha_format(text, sizeof text, "halloc: memory limit %s exceeded by %s; largest live sites: \n",
                "8796093022208.0 MiB", "17592186044416.0 MiB");
  CHECK(HA_SITES_TEXT_MAX + sentence < HA_LOG_MAX, "nothing is cut off");
}

static void refuses_other_profiles(void) {
  struct ha_blob blob;
  struct ha_profile other = profile;
  struct ha_scratch *scratch = ha_scratch_new();
  other.type_count = 2;
  CHECK(ha_sites_encode(&other, scratch, &blob) == -ENOTSUP, "only heap profiles have live bytes");
  ha_scratch_destroy(scratch);
}

/* Every amount of memory either suffices or is reported: nothing crashes in between. */
static void too_little_memory_is_an_error(void) {
  bool has_failed = false, has_worked = false;
  for (size_t limit = 0; limit < (size_t)MIB / 4; limit += 97) {
    struct ha_blob blob;
    struct ha_scratch *scratch = ha_scratch_new();
    row_count = 0;
    add_row(INSIDE(site_a, 5), 4 * MIB);
    add_row(NOWHERE, 4 * MIB);
    ha_scratch_set_limit(scratch, limit);
    int error = ha_sites_encode(&profile, scratch, &blob);
    CHECK(error == 0 || error == -ENOMEM, "works or says why not");
    has_failed |= error != 0;
    has_worked |= error == 0;
    ha_scratch_destroy(scratch);
  }
  CHECK(has_failed && has_worked, "both were tried");
}

int main(void) {
  largest_first();
  rows_of_a_function_are_summed();
  only_the_living_count();
  sizes_are_rounded();
  ten_at_most();
  frames_that_are_no_code();
  addresses_without_a_symbol();
  long_names_are_cut();
  the_longest_text_fits_a_line();
  refuses_other_profiles();
  too_little_memory_is_an_error();
  return failures == 0 ? 0 : 1;
}
