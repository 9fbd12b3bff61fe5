/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: memory counted twice or not at all because a line of /proc/self/smaps was cut at the end
 * of the buffer, a path with spaces or a newer kernel's key was misread.
 */
#include "base/smaps.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/os.h"
#include "base/process.h"
#include "tests/test.h"

#define MAPPINGS_MAX 64
#define MIB ((size_t)1 << 20)
/* More mappings than fit in several buffers: each has some 700 bytes of text. */
#define STRIPES 400
#define NAME "0123456789012345678901234567890123456789012345678/"

static struct ha_smaps_mapping seen[MAPPINGS_MAX];
static int count;

static void keep(const struct ha_smaps_mapping *mapping, void *arg) {
  (void)arg;
  CHECK(count < MAPPINGS_MAX, "too many mappings");
  seen[count++] = *mapping;
}

static void parse(const char *const *lines) {
  struct ha_smaps_parser parser = {.has_mapping = false};
  count = 0;
  for (; *lines != NULL; lines++) {
    ha_smaps_parse_line(&parser, *lines, strlen(*lines), keep, NULL);
  }
}

TEST(each_form_of_a_mapping_is_read) {
  static const char *const lines[] = {
      "55d0c0a00000-55d0c0a28000 r--p 00001000 fd:01 1234567                    /usr/bin/a program (deleted)",
      "Size:                160 kB",
      "Rss:                 152 kB",
      "Pss:                  76 kB",
      "Pss_Dirty:             0 kB",
      "VmFlags: rd mr mw me sd ",
      "7f0000000000-7f0000001000 ---p 00000000 00:00 0 ",
      "Rss:                   0 kB",
      "7f0000001000-7f0000801000 rw-p 00000000 00:00 0",
      "Rss:                  20 kB",
      "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]",
      "Rss:                  16 kB",
      "7ffc00100000-7ffc00102000 r-xp 00000000 00:00 0                          [vdso]",
      "Rss:                   4 kB",
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
      "Rss:                   0 kB",
      NULL,
  };
  parse(lines);
  CHECK_EQ(count, 6);
  CHECK_STRING(seen[0].name, "a program (deleted)");
  CHECK_EQ(seen[0].start, (uintptr_t)0x55d0c0a00000);
  CHECK_EQ(seen[0].limit, (uintptr_t)0x55d0c0a28000);
  CHECK_EQ(seen[0].resident, (uint64_t)152 * 1024);
  CHECK(seen[0].is_file && seen[4].is_file && seen[5].is_file, "a file, and the kernel's code, is not one");
  CHECK(!seen[1].is_file && !seen[2].is_file && !seen[3].is_file, "anonymous memory is a file");
  CHECK_STRING(seen[2].name, "");
  CHECK_EQ(seen[2].resident, (uint64_t)20 * 1024);
  CHECK_STRING(seen[3].name, "[stack]");
}

TEST(lines_of_other_forms_are_skipped) {
  static const char *const lines[] = {
      "Rss:                  12 kB", /* of no mapping */
      "",
      "7f0000001000-7f0000001000 rw-p 00000000 00:00 0", /* empty */
      "7f0000001000 rw-p 00000000 00:00 0",
      "7f00000010g0-7f0000002000 rw-p 00000000 00:00 0",
      "7f0000001000-7f0000002000 rw",
      "Rss:                  12 kB",
      "7f0000001000-7f0000002000 rw-p 00000000 00:00 0 /a/b",
      "Rss:",
      "Rss:                  many",
      "RssAnon:               8 kB",
      "Rss:                   4 kB",
      "Rss:                   8 kB", /* a second one */
      NULL,
  };
  parse(lines);
  CHECK_EQ(count, 1);
  CHECK_EQ(seen[0].resident, (uint64_t)4096);
  CHECK_STRING(seen[0].name, "b");
}

struct sums {
  uint64_t resident;
  uintptr_t limit;
  uintptr_t start; /* of the mapping to look for */
  int stripes;
};

static void add(const struct ha_smaps_mapping *mapping, void *arg) {
  struct sums *sums = arg;
  CHECK(mapping->start >= sums->limit, "a mapping at %p comes too late", (void *)mapping->start);
  sums->limit = mapping->limit;
  sums->resident += mapping->resident;
  bool is_stripe = mapping->start >= sums->start && mapping->limit <= sums->start + STRIPES * 2 * HA_OS_PAGE;
  if (is_stripe && mapping->resident == HA_OS_PAGE) {
    sums->stripes++;
  }
}

/* The kernel ends what it hands out at the end of a line, as far as is known; a file does not. */
TEST(lines_may_be_cut_anywhere) {
  static char buffer[HA_SMAPS_BUFFER];
  const int lines = 3000;
  int fd = memfd_create("smaps", MFD_CLOEXEC);
  for (int i = 0; i < lines; i++) {
    dprintf(fd, "%x000-%x000 rw-p 00000000 00:00 0 %.*s\nRss: %d kB\n", i + 1, i + 2, i % 50, NAME, i);
  }
  lseek(fd, 0, SEEK_SET);
  struct sums sums = {0};
  CHECK_EQ(ha_smaps_read_from(fd, buffer, add, &sums), 0);
  CHECK_EQ(sums.resident, (uint64_t)lines * (lines - 1) / 2 * 1024);
  close(fd);
}

/* The kernel's two counts are read one after the other; the buffer is touched before, nothing else is. */
TEST(this_process_adds_up_to_its_resident_size) {
  static char buffer[HA_SMAPS_BUFFER];
  memset(buffer, 1, sizeof buffer);
  char *stripes = mmap(NULL, STRIPES * 2 * HA_OS_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < STRIPES; i++) {
    char *stripe = stripes + (size_t)i * 2 * HA_OS_PAGE;
    CHECK_EQ(mprotect(stripe, HA_OS_PAGE, PROT_READ | PROT_WRITE), 0);
    *stripe = 1;
  }
  struct sums sums = {.start = (uintptr_t)stripes};
  CHECK_EQ(ha_smaps_read(buffer, add, &sums), 0);
  CHECK_EQ(sums.stripes, STRIPES);
  int64_t difference = (int64_t)ha_process_rss() - (int64_t)sums.resident;
  test_note("VmRSS less the sum: %ld", (long)difference);
  /* The kernel keeps up to 64 OS pages of a thread out of its count. */
  CHECK(llabs(difference) <= 64 * (int64_t)HA_OS_PAGE, "VmRSS and the sum differ by %ld", (long)difference);
}

TEST(resident_os_pages_are_counted_one_by_one) {
  char *start = mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(start, 32 * MIB, MADV_NOHUGEPAGE);
  size_t touched = 0, pages;
  for (size_t at = 0; at < 32 * MIB; at += 3 * HA_OS_PAGE) {
    start[at] = 1;
    touched++;
  }
  CHECK(ha_os_count_resident(start, 32 * MIB, &pages), "the kernel does not tell");
  CHECK_EQ(pages, touched);
  CHECK(ha_os_count_resident(start + HA_OS_PAGE, 2 * HA_OS_PAGE, &pages), "the kernel does not tell");
  CHECK_EQ(pages, (size_t)0);
  munmap(start, 32 * MIB);
  CHECK(ha_os_count_resident(start, 32 * MIB, &pages) && pages == 0, "unmapped memory is resident");
}
