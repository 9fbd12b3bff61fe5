/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a bug of theirs that corrupts the heap in silence although it could have been
 * named, or that is named wrongly. Each misuse runs in a child, which must abort with exactly one line.
 *
 * Not detected, and so not tested: a second free of a small unsampled block while its page lives on and its
 * owner frees it (the fast path checks nothing), the same by another thread, free of an address inside such a
 * block, realloc of such a block after it was freed, writes beyond a block or after its free.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/api/hp.h"

#define MIB ((size_t)1 << 20)
#define NOT_IN_USE "not a block in use: it was freed before, or never came from malloc\n"

static void free_it(void *block) {
  free(block);
}

static void free_twice(void *block) {
  free(block);
  free(block);
}

static void resize_it(void *block) {
  block = realloc(block, 100);
}

static void free_and_resize(void *block) {
  free(block);
  block = realloc(block, 100);
}

static void check_line(void (*run)(void *), void *block, const char *function, const char *reason) {
  char line[256];
  snprintf(line, sizeof line, "halloc: %s(%p): %s", function, block, reason);
  CHECK_DIES(run, block, line);
}

TEST(a_large_block_freed_twice) {
  check_line(free_twice, malloc(200 * 1024), "free", NOT_IN_USE);
  check_line(free_twice, malloc(4 * MIB), "free", NOT_IN_USE);
  check_line(free_twice, memalign(MIB, 300 * 1024), "free", NOT_IN_USE);
}

TEST(a_huge_block_freed_twice) {
  check_line(free_twice, malloc(40 * MIB), "free", NOT_IN_USE);
}

TEST(a_sampled_block_freed_twice) {
  hp_rate(1);
  static const size_t sizes[] = {1, 64, 1000, 1025, 9000, 131072};
  for (int i = 0; i < 6; i++) {
    check_line(free_twice, malloc(sizes[i]), "free", "this block was freed before (double free)\n");
  }
}

/* Half of the blocks first, so that every page has room before one is empty: the heap keeps one empty page
 * only. */
static void free_all_and_one_twice(void *block) {
  static void *others[20000];
  for (int i = 0; i < 20000; i++) {
    others[i] = malloc(64);
  }
  for (int i = 0; i < 20000; i += 2) {
    free(others[i]);
  }
  free(block);
  for (int i = 1; i < 20000; i += 2) {
    free(others[i]);
  }
  free(block);
}

/* The block's page went back to the arena with its last block: the address belongs to nothing any more. */
TEST(a_small_block_freed_again_after_its_page_is_gone) {
  static void *blocks[10000];
  hp_rate(0);
  for (int i = 0; i < 10000; i++) {
    blocks[i] = malloc(64);
  }
  for (int i = 0; i < 10000; i++) {
    if (i != 5000) {
      free(blocks[i]);
    }
  }
  check_line(free_all_and_one_twice, blocks[5000], "free", NOT_IN_USE);
}

TEST(a_pointer_to_the_stack) {
  char local[256] __attribute__((aligned(64)));
  check_line(free_it, local + 64, "free", NOT_IN_USE);
  check_line(resize_it, local + 64, "realloc", NOT_IN_USE);
}

TEST(a_pointer_to_static_data_or_code) {
  static char data[64] __attribute__((aligned(64)));
  check_line(free_it, data, "free", NOT_IN_USE);
  check_line(free_it, (void *)(uintptr_t)free_it, "free", NOT_IN_USE);
}

TEST(a_mapping_of_the_program) {
  char *start = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check_line(free_it, start, "free", NOT_IN_USE);
  check_line(free_it, start + MIB, "free", NOT_IN_USE);
  check_line(resize_it, start + 4096, "realloc", NOT_IN_USE);
}

TEST(wild_pointers) {
  const uintptr_t wild[] = {1,
                            16,
                            4096,
                            (uintptr_t)1 << 46,
                            ((uintptr_t)1 << 47) - 16,
                            (uintptr_t)1 << 47,
                            (uintptr_t)1 << 63,
                            UINTPTR_MAX - 15,
                            UINTPTR_MAX};
  for (unsigned i = 0; i < sizeof wild / sizeof *wild; i++) {
    check_line(free_it, (void *)wild[i], "free", NOT_IN_USE);
    check_line(resize_it, (void *)wild[i], "realloc", NOT_IN_USE);
  }
}

TEST(an_address_inside_a_large_block) {
  char *block = malloc(4 * MIB);
  check_line(free_it, block + 16, "free", "not the start of a block\n");
  check_line(free_it, block + MIB, "free", NOT_IN_USE);
  check_line(resize_it, block + MIB, "realloc", NOT_IN_USE);
}

TEST(an_address_inside_a_sampled_block) {
  hp_rate(1);
  char *block = malloc(256);
  check_line(free_it, block + 16, "free", NOT_IN_USE);
  check_line(free_it, block + 1, "free", NOT_IN_USE);
}

TEST(a_freed_large_block_resized) {
  check_line(free_and_resize, malloc(4 * MIB), "realloc", NOT_IN_USE);
  check_line(free_and_resize, malloc(40 * MIB), "realloc", NOT_IN_USE);
}

TEST(the_usable_size_of_what_is_not_ours_is_0) {
  char local[64];
  CHECK_EQ(malloc_usable_size(local), (size_t)0);
  CHECK_EQ(malloc_usable_size((void *)(uintptr_t)free_it), (size_t)0);
  CHECK_EQ(malloc_usable_size(NULL), (size_t)0);
}
