/* SPDX-License-Identifier: MIT */
/*
 * Pairs of a small malloc and a free by the same thread, for instructions.sh to count.
 *
 * usage: instructions PAIRS
 */
#include <stdlib.h>

#define BLOCK_SIZE 16
#define DECIMAL 10

int main(int argc, char **argv) {
  long pairs = argc > 1 ? strtol(argv[1], NULL, DECIMAL) : 0;
  for (long i = 0; i < pairs; i++) {
    void *block = malloc(BLOCK_SIZE);
    if (block == NULL)
      return 1;
    __asm__ volatile("" : : "g"(block) : "memory");
    free(block);
  }
  return 0;
}
