/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a container's limit or a sandbox that turns into a crash inside malloc, or a
 * process that can no longer allocate after it has freed.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/api/hp.h"

#define MIB ((size_t)1 << 20)
#define BLOCKS_MAX 200000

static void *blocks[BLOCKS_MAX];

/* As many blocks of the size as there are; the failing call must say ENOMEM. */
static size_t fill(size_t size) {
  size_t count = 0;
  errno = 0;
  while (count < BLOCKS_MAX && (blocks[count] = malloc(size)) != NULL) {
    CHECK_EQ(errno, 0);
    memset(blocks[count++], 1, 8);
  }
  CHECK(count < BLOCKS_MAX, "no limit was met");
  CHECK_EQ(errno, ENOMEM);
  return count;
}

static void empty(size_t count) {
  errno = ENOTTY;
  while (count > 0) {
    free(blocks[--count]);
  }
  CHECK_EQ(errno, ENOTTY);
}

static void limit_address_space(size_t bytes) {
  struct rlimit limit = {bytes, bytes};
  CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

/* Fills, frees, and gets at least 90 % again, with medium, small, large and huge blocks. */
static void check_recovery(size_t limit) {
  static const size_t sizes[] = {64 * 1024, 4000, 300 * 1024, 10 * MIB, 40 * MIB};
  limit_address_space(limit);
  for (int i = 0; i < 5; i++) {
    size_t first = fill(sizes[i]);
    empty(first);
    size_t second = fill(sizes[i]);
    empty(second);
    test_note("limit %zu MiB size %zu: %zu blocks, then %zu", limit / MIB, sizes[i], first, second);
    CHECK(second * 10 >= first * 9, "limit %zu MiB size %zu: %zu blocks, then only %zu", limit / MIB,
          sizes[i], first, second);
    CHECK(i > 0 || first * sizes[i] >= limit / 4, "only %zu blocks of %zu in %zu MiB", first, sizes[i],
          limit / MIB);
  }
  CHECK(calloc(1, 100) != NULL, "nothing can be had any more");
}

TEST(address_space_of_64_mib_runs_out_and_recovers) {
  check_recovery(64 * MIB);
}

TEST(address_space_of_256_mib_runs_out_and_recovers) {
  check_recovery(256 * MIB);
}

TEST(address_space_of_512_mib_runs_out_and_recovers) {
  check_recovery(512 * MIB);
}

TEST(every_function_fails_with_enomem_at_the_limit) {
  limit_address_space(256 * MIB);
  void *kept = malloc(100);
  memset(kept, 7, 100);
  void *untouched = &kept;
  CHECK(malloc(1024 * MIB) == NULL && errno == ENOMEM, "malloc");
  errno = 0;
  CHECK(calloc(1024, MIB) == NULL && errno == ENOMEM, "calloc");
  errno = 0;
  CHECK(realloc(kept, 1024 * MIB) == NULL && errno == ENOMEM, "realloc");
  errno = 0;
  CHECK(memalign(4096, 1024 * MIB) == NULL && errno == ENOMEM, "memalign");
  errno = 0;
  CHECK(aligned_alloc(64, 1024 * MIB) == NULL && errno == ENOMEM, "aligned_alloc");
  errno = 0;
  CHECK(valloc(1024 * MIB) == NULL && errno == ENOMEM, "valloc");
  CHECK_EQ(posix_memalign(&untouched, 4096, 1024 * MIB), ENOMEM);
  CHECK_EQ(untouched, (void *)&kept);
  for (int i = 0; i < 100; i++) {
    CHECK_EQ(((char *)kept)[i], (char)7);
  }
}

TEST(repeated_failures_cost_nothing) {
  limit_address_space(256 * MIB);
  for (int i = 0; i < 2000; i++) {
    CHECK(malloc(300 * MIB) == NULL, "300 MiB in 256");
    CHECK(malloc(20 * MIB + 1024 * MIB) == NULL, "1 GiB in 256");
  }
  void *block = malloc(100 * MIB);
  CHECK(block != NULL, "failed allocations have used up the address space");
  free(block);
}

/* Answers one system call with an error from now on. */
static void deny(int number, int error) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    test_skip("no seccomp here: %s", strerror(errno));
  }
}

/* Allocates, resizes and frees blocks of all kinds; whatever cannot be had must be NULL with ENOMEM. */
static size_t work(void) {
  size_t missing = 0;
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < 4000; i++) {
      errno = 0;
      blocks[i] = malloc(i * 97 % 9000 + 1);
      CHECK_EQ(errno, blocks[i] == NULL ? ENOMEM : 0);
      missing += blocks[i] == NULL;
    }
    empty(4000);
    for (size_t size = 200 * 1024; size <= 80 * MIB; size *= 3) {
      errno = 0;
      char *block = malloc(size);
      char *larger = block != NULL ? realloc(block, size * 2) : NULL;
      CHECK(larger != NULL || errno == ENOMEM, "errno is %d", errno);
      missing += larger == NULL;
      errno = ENOTTY;
      free(larger != NULL ? larger : block);
      CHECK_EQ(errno, ENOTTY);
    }
  }
  return missing;
}

static void check_denied(int number, int error, bool is_needed) {
  hp_rate(512);
  free(malloc(10));
  deny(number, error);
  size_t missing = work();
  test_note("system call %d denied: %zu blocks could not be had", number, missing);
  CHECK(is_needed || missing == 0, "%zu blocks could not be had", missing);
}

TEST(madvise_may_be_forbidden) {
  check_denied(SYS_madvise, EPERM, false);
}

TEST(munmap_may_fail) {
  check_denied(SYS_munmap, ENOMEM, false);
}

TEST(munmap_may_be_forbidden) {
  check_denied(SYS_munmap, EPERM, false);
}

TEST(mprotect_may_fail) {
  check_denied(SYS_mprotect, ENOMEM, false);
}

TEST(mremap_may_fail) {
  check_denied(SYS_mremap, ENOMEM, false);
}

TEST(getrandom_may_be_forbidden) {
  check_denied(SYS_getrandom, EPERM, false);
}

TEST(mmap_may_fail_from_some_moment_on) {
  check_denied(SYS_mmap, ENOMEM, true);
}

TEST(mmap_may_be_forbidden_from_some_moment_on) {
  check_denied(SYS_mmap, EPERM, true);
}

TEST(without_mmap_what_is_there_is_still_used) {
  hp_rate(0);
  size_t count = 0;
  while (count < 50000) {
    blocks[count++] = malloc(200);
  }
  empty(count);
  deny(SYS_mmap, ENOMEM);
  for (size_t i = 0; i < 50000; i++) {
    blocks[i] = malloc(200);
    CHECK(blocks[i] != NULL, "block %zu of 50000 that were there", i);
  }
}

/* A profile cannot be had without memory; that is an error, not a crash, and nothing is held afterwards. */
TEST(a_profile_without_memory_is_an_error) {
  free(malloc(10));
  deny(SYS_mmap, ENOMEM);
  int error = hp_profile("heap", STDERR_FILENO + 100, 0);
  CHECK(error < 0, "the result is %d", error);
  CHECK(malloc(100) != NULL, "nothing can be had any more");
}

/* Every mapping the kernel allows (vm.max_map_count) is used up, by read-only islands in a reserved range. */
static int use_up_maps(void) {
  const size_t count = 140000;
  char *range = mmap(NULL, count * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(range != MAP_FAILED, "no address space");
  int islands = 0;
  for (size_t i = 0; i < count / 2 && mprotect(range + i * 8192, 4096, PROT_READ) == 0; i++) {
    islands++;
  }
  return islands;
}

TEST(with_all_mappings_used_up_small_blocks_are_still_served) {
  free(malloc(100));
  if (use_up_maps() == 70000) {
    test_skip("vm.max_map_count is above 140,000 here");
  }
  for (size_t i = 0; i < 10000; i++) {
    blocks[i] = malloc(500);
    CHECK(blocks[i] != NULL, "block %zu", i);
    memset(blocks[i], 1, 500);
  }
  errno = 0;
  void *huge = malloc(100 * MIB);
  CHECK(huge != NULL || errno == ENOMEM, "errno is %d", errno);
  errno = ENOTTY;
  free(huge);
  CHECK_EQ(errno, ENOTTY);
  empty(10000);
  CHECK(malloc(64) != NULL, "nothing can be had any more");
}

static int count_maps(void) {
  char text[4096];
  int lines = 0;
  ssize_t count;
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  while ((count = read(fd, text, sizeof text)) > 0) {
    for (ssize_t i = 0; i < count; i++) {
      lines += text[i] == '\n';
    }
  }
  close(fd);
  return lines;
}

/* 10 GiB pass through in blocks of all sizes, of which up to 2000 live at a time. */
TEST(ten_gib_of_churn_make_few_mappings) {
  uint64_t random = 20240615;
  size_t passed = 0;
  while (passed < 10240 * MIB) {
    size_t i = test_random(&random) % 2000;
    size_t size = (size_t)1 << (4 + test_random(&random) % 17);
    free(blocks[i]);
    blocks[i] = malloc(size);
    CHECK(blocks[i] != NULL, "no memory");
    passed += size;
  }
  int maps = count_maps();
  test_note("%d mappings", maps);
  CHECK(maps < 500, "%d mappings", maps);
}
