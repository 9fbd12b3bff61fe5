/* SPDX-License-Identifier: MIT */
/* A function that is chosen at its first call: the chooser runs, and allocates, inside ld.so's lazy binding.
 */
#include <stdlib.h>

static void *chosen(size_t size) {
  void *block = malloc(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

static void *(*choose(void))(size_t) {
  void *block = malloc(300);
  __asm__ volatile("" : : "r"(block) : "memory");
  return chosen;
}

void *lazily_bound(size_t size) __attribute__((ifunc("choose")));
