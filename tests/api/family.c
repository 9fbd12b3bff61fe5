/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: any function of the malloc family that gives a misaligned, short or dirty
 * block, loses content, overflows on a huge request, or touches errno. Holds for glibc's malloc as well, so
 * the same program runs without halloc too.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

#include "tests/api/hp.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static const size_t sizes[] = {
    0,      1,      7,      8,    15,      16,      17,       100,          128,     129,
    1000,   1024,   1025,   4096, 8192,    8193,    65536,    100000,       131072,  131073,
    135168, 135169, 200000, MIB,  MIB + 1, 5 * MIB, 32 * MIB, 32 * MIB + 1, 40 * MIB};
#define SIZES (sizeof sizes / sizeof *sizes)

static bool is_filled(const unsigned char *block, size_t size, unsigned char byte) {
  for (size_t i = 0; i < size; i++) {
    if (block[i] != byte) {
      return false;
    }
  }
  return true;
}

static void *allocated(void *block) {
  CHECK(block != NULL, "no memory");
  return block;
}

TEST(usable_sizes_are_enough_stable_and_writable) {
  for (size_t i = 0; i < SIZES; i++) {
    unsigned char *block = allocated(malloc(sizes[i]));
    size_t usable = malloc_usable_size(block);
    CHECK(usable >= sizes[i], "%zu usable of %zu", usable, sizes[i]);
    memset(block, 0xa5, usable);
    void *neighbour = allocated(malloc(sizes[i]));
    memset(neighbour, 0, malloc_usable_size(neighbour));
    CHECK_EQ(malloc_usable_size(block), usable);
    CHECK(is_filled(block, usable, 0xa5), "the end of %zu bytes is another's", sizes[i]);
    free(neighbour);
    free(block);
  }
}

TEST(every_block_is_aligned_to_16) {
  for (size_t i = 0; i < SIZES; i++) {
    void *block = allocated(malloc(sizes[i]));
    CHECK((uintptr_t)block % 16 == 0, "%zu bytes at %p", sizes[i], block);
    free(block);
  }
}

static void check_aligned(void *block, size_t alignment, size_t size, const char *function) {
  CHECK(block != NULL && (uintptr_t)block % alignment == 0, "%s(%zu, %zu) is %p", function, alignment, size,
        block);
  CHECK(malloc_usable_size(block) >= size, "%s(%zu, %zu) has %zu bytes", function, alignment, size,
        malloc_usable_size(block));
  memset(block, 0x5a, size);
  free(block);
}

TEST(alignments_from_8_bytes_to_4_mib_are_met) {
  static const size_t some[] = {0, 1, 24, 500, 4096, 5000, 70000, 131072, 140000, MIB, 3 * MIB + 5};
  for (size_t alignment = 8; alignment <= 4 * MIB; alignment *= 2) {
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
      void *block = NULL;
      check_aligned(memalign(alignment, some[i]), alignment, some[i], "memalign");
      check_aligned(aligned_alloc(alignment, some[i]), alignment, some[i], "aligned_alloc");
      CHECK_EQ(posix_memalign(&block, alignment, some[i]), 0);
      check_aligned(block, alignment, some[i], "posix_memalign");
    }
  }
}

TEST(valloc_and_pvalloc_give_os_pages) {
  for (size_t i = 0; i < SIZES; i++) {
    check_aligned(valloc(sizes[i]), 4096, sizes[i], "valloc");
    check_aligned(pvalloc(sizes[i]), 4096, (sizes[i] + 4095) / 4096 * 4096, "pvalloc");
  }
}

/* Blocks of the size are dirtied and freed, in two orders, before calloc gets them. */
TEST(calloc_is_zero_after_dirty_reuse) {
  for (size_t i = 0; i < SIZES; i++) {
    size_t count = sizes[i] > MIB ? 2 : 40;
    unsigned char *blocks[40];
    for (int round = 0; round < 3; round++) {
      for (size_t k = 0; k < count; k++) {
        blocks[k] = allocated(calloc(1, sizes[i]));
        CHECK(is_filled(blocks[k], sizes[i], 0), "calloc of %zu bytes is dirty in round %d", sizes[i], round);
        memset(blocks[k], 0xff, malloc_usable_size(blocks[k]));
      }
      for (size_t k = 0; k < count; k++) {
        free(blocks[round % 2 == 0 ? k : count - 1 - k]);
      }
    }
  }
}

static void check_realloc(size_t from, size_t to) {
  unsigned char *block = allocated(malloc(from));
  memset(block, 0xc3, from);
  block = realloc(block, to);
  CHECK(block != NULL && malloc_usable_size(block) >= to, "realloc from %zu to %zu", from, to);
  CHECK(is_filled(block, from < to ? from : to, 0xc3), "realloc from %zu to %zu loses content", from, to);
  memset(block, 0x3c, to);
  free(block);
}

TEST(realloc_keeps_content_between_all_kinds_of_blocks) {
  for (size_t from = 0; from < SIZES; from++) {
    for (size_t to = 1; to < SIZES; to++) {
      check_realloc(sizes[from], sizes[to]);
    }
  }
}

TEST(realloc_keeps_content_step_by_step) {
  unsigned char *block = NULL;
  size_t size = 0;
  for (size_t next = 1; next < 3 * MIB; next += next / 5 + 1) {
    block = allocated(realloc(block, next));
    CHECK(is_filled(block, size, 0x77), "growing from %zu to %zu loses content", size, next);
    memset(block, 0x77, next);
    size = next;
  }
  while (size > 1) {
    size -= size / 5 + 1;
    block = allocated(realloc(block, size > 0 ? size : 1));
    CHECK(is_filled(block, size, 0x77), "shrinking to %zu loses content", size);
  }
  free(block);
}

TEST(an_aligned_block_can_be_resized_and_freed) {
  for (size_t alignment = 16; alignment <= 2 * MIB; alignment *= 4) {
    unsigned char *block = allocated(memalign(alignment, 5000));
    memset(block, 0x11, 5000);
    block = allocated(realloc(block, 300000));
    CHECK(is_filled(block, 5000, 0x11), "alignment %zu: content is lost", alignment);
    free(block);
  }
}

TEST(realloc_to_0_frees) {
  for (size_t i = 0; i < SIZES; i++) {
    CHECK(realloc(allocated(malloc(sizes[i])), 0) == NULL, "size %zu", sizes[i]);
  }
  void *fresh = realloc(NULL, 0);
  CHECK(fresh != NULL, "realloc(NULL, 0) is not malloc(0)");
  free(fresh);
}

TEST(zero_sizes_give_blocks_of_their_own) {
  void *blocks[] = {malloc(0), malloc(0), calloc(0, 5), calloc(5, 0), memalign(64, 0), aligned_alloc(64, 0),
                    valloc(0)};
  for (int i = 0; i < 7; i++) {
    CHECK(blocks[i] != NULL, "block %d", i);
    for (int k = 0; k < i; k++) {
      CHECK(blocks[i] != blocks[k], "blocks %d and %d", i, k);
    }
  }
  for (int i = 0; i < 7; i++) {
    free(blocks[i]);
  }
}

#define CHECK_TOO_LARGE(call)                                                                                \
  do {                                                                                                       \
    errno = 0;                                                                                               \
    CHECK((call) == NULL, #call " is not NULL, size %zx", size);                                             \
    CHECK(errno == ENOMEM, #call " sets errno to %d, size %zx", errno, size);                                \
  } while (0)

static void check_too_large(size_t size) {
  void *untouched = &untouched;
  unsigned char *block = allocated(malloc(100));
  memset(block, 0x42, 100);
  CHECK_TOO_LARGE(malloc(size));
  CHECK_TOO_LARGE(calloc(1, size));
  CHECK_TOO_LARGE(calloc(size, 1));
  CHECK_TOO_LARGE(realloc(block, size));
  CHECK_TOO_LARGE(realloc(NULL, size));
  CHECK_TOO_LARGE(reallocarray(block, 1, size));
  CHECK_TOO_LARGE(memalign(16, size));
  CHECK_TOO_LARGE(memalign(4096, size));
  CHECK_TOO_LARGE(memalign(4 * MIB, size));
  CHECK_TOO_LARGE(aligned_alloc(64, size));
  CHECK_TOO_LARGE(valloc(size));
  CHECK_TOO_LARGE(pvalloc(size));
  CHECK_EQ(posix_memalign(&untouched, 64, size), ENOMEM);
  CHECK_EQ(untouched, (void *)&untouched);
  CHECK(is_filled(block, 100, 0x42), "a failed realloc to %zx changed the block", size);
  free(block);
}

/* As glibc's tst-malloc-too-large: the neighbourhoods of SIZE_MAX and PTRDIFF_MAX, after a warm-up. */
TEST(sizes_near_the_limits_fail_with_enomem) {
  free(malloc(100));
  for (size_t less = 0; less < 40; less++) {
    check_too_large(SIZE_MAX - less);
    check_too_large((size_t)PTRDIFF_MAX + 1 + less);
  }
  for (size_t page = 0; page < 4; page++) {
    check_too_large(SIZE_MAX - page * 4096);
    check_too_large((size_t)PTRDIFF_MAX - page * 4096);
    check_too_large((size_t)PTRDIFF_MAX + page * 4096);
    check_too_large(SIZE_MAX - 65536 * page);
  }
  check_too_large((size_t)1 << 62);
}

/* Keeps a number from the compiler, which would warn of it, or make something else of the call. */
static size_t hidden(size_t number) {
  volatile size_t copy = number;
  return copy;
}

TEST(products_that_overflow_fail_with_enomem_and_leave_the_block) {
  const size_t size = 0; /* for the message */
  unsigned char *block = allocated(malloc(100));
  memset(block, 0x42, 100);
  CHECK_TOO_LARGE(calloc(hidden(SIZE_MAX / 2 + 2), 2));
  CHECK_TOO_LARGE(calloc(hidden(SIZE_MAX), hidden(SIZE_MAX)));
  CHECK_TOO_LARGE(calloc(hidden((size_t)1 << 32), hidden((size_t)1 << 32)));
  CHECK_TOO_LARGE(calloc(3, hidden(SIZE_MAX / 3)));
  CHECK_TOO_LARGE(reallocarray(block, hidden(SIZE_MAX / 2 + 2), 2));
  CHECK_TOO_LARGE(reallocarray(block, hidden((size_t)1 << 32), hidden((size_t)1 << 32)));
  CHECK_TOO_LARGE(reallocarray(NULL, hidden(SIZE_MAX), 2));
  CHECK(is_filled(block, 100, 0x42), "the block has changed");
  block = reallocarray(block, 50, 4);
  CHECK(block != NULL && is_filled(block, 100, 0x42), "reallocarray loses content");
  free(block);
}

TEST(huge_alignments_fail_cleanly) {
  void *untouched = &untouched;
  errno = 0;
  CHECK(memalign(hidden((size_t)1 << 62), (size_t)PTRDIFF_MAX - 4096) == NULL && errno == ENOMEM, "errno %d", errno);
  errno = 0;
  CHECK(memalign(hidden(((size_t)1 << 63) + 1), 16) == NULL && errno == EINVAL, "errno %d", errno);
  errno = 0;
  CHECK(aligned_alloc(hidden((size_t)1 << 63), hidden((size_t)1 << 62)) == NULL && errno == ENOMEM, "errno %d", errno);
  CHECK_EQ(posix_memalign(&untouched, hidden((size_t)1 << 63), (size_t)PTRDIFF_MAX - 100), ENOMEM);
  CHECK_EQ(untouched, (void *)&untouched);
}

TEST(posix_memalign_refuses_bad_alignments) {
  static const size_t bad[] = {0, 1, 2, 4, 7, 12, 24, 40, 100, 4097};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    void *untouched = &untouched;
    errno = ENOTTY;
    CHECK(posix_memalign(&untouched, bad[i], 8) == EINVAL, "alignment %zu", bad[i]);
    CHECK(untouched == &untouched && errno == ENOTTY, "alignment %zu leaves traces", bad[i]);
  }
}

/* glibc rounds an alignment that is no power of two up to one. */
TEST(memalign_takes_any_alignment) {
  static const size_t odd[][2] = {{0, 16}, {1, 16}, {3, 16}, {17, 32}, {24, 32}, {100, 128}, {4097, 8192}};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    check_aligned(memalign(hidden(odd[i][0]), 100), odd[i][1], 100, "memalign");
  }
}

TEST(free_keeps_errno_for_every_kind_of_block) {
  for (size_t i = 0; i < SIZES; i++) {
    void *block = allocated(malloc(sizes[i]));
    errno = ENOTTY;
    free(block);
    CHECK(errno == ENOTTY, "free of %zu bytes sets errno to %d", sizes[i], errno);
  }
  errno = ENOTTY;
  free(NULL);
  CHECK_EQ(errno, ENOTTY);
}

TEST(success_keeps_errno) {
  for (size_t i = 0; i < SIZES; i++) {
    void *block = NULL;
    errno = ENOTTY;
    free(allocated(malloc(sizes[i])));
    free(allocated(calloc(1, sizes[i])));
    free(allocated(memalign(256, sizes[i])));
    CHECK_EQ(posix_memalign(&block, 64, sizes[i]), 0);
    block = allocated(realloc(block, sizes[i] * 2 + 1));
    malloc_usable_size(block);
    free(block);
    CHECK(errno == ENOTTY, "size %zu sets errno to %d", sizes[i], errno);
  }
}

/* The names that glibc 2.36 does not have are tested where they exist. */
TEST(the_bsd_and_c23_names_work) {
  void *(*reallocf_)(void *, size_t), (*free_sized_)(void *, size_t),
      (*free_aligned_)(void *, size_t, size_t);
  int (*reallocarr_)(void *, size_t, size_t);
  *(void **)&reallocf_ = dlsym(RTLD_DEFAULT, "reallocf");
  *(void **)&reallocarr_ = dlsym(RTLD_DEFAULT, "reallocarr");
  *(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
  *(void **)&free_aligned_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
  if (reallocf_ == NULL && !hp_is_here()) {
    test_skip("this malloc has no reallocf");
  }
  CHECK(reallocf_(malloc(10), SIZE_MAX) == NULL, "reallocf to SIZE_MAX");
  char *block = allocated(reallocf_(malloc(10), 100));
  errno = ENOTTY;
  CHECK_EQ(reallocarr_(&block, SIZE_MAX, 2), EOVERFLOW);
  CHECK_EQ(reallocarr_(&block, 1, SIZE_MAX), ENOMEM);
  CHECK_EQ(reallocarr_(&block, 10, 1000), 0);
  CHECK(malloc_usable_size(block) >= 10000 && errno == ENOTTY, "reallocarr, errno %d", errno);
  CHECK_EQ(reallocarr_(&block, 0, 8), 0);
  CHECK(block == NULL, "reallocarr to 0 leaves %p", (void *)block);
  free_sized_(malloc(100), 100);
  free_sized_(NULL, 0);
  free_aligned_(memalign(64, 128), 64, 128);
}
