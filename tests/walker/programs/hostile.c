/* SPDX-License-Identifier: MIT */
/*
 * Calls malloc with wild frame pointers, return addresses and stacks. Prints `SIZE DEPTH_MAX NAME` per kind
 * of wild thing: the sizes are of different size classes, so that the profile tells which stacks came from
 * which.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KIB ((size_t)1024)
#define STACK_BYTES (64 * KIB)

typedef void *stack_fn(size_t size, void *fp, void *sp);
void *bare_fp(size_t size, void *fp);
stack_fn bare_stack, cfa_by_frame, cfa_by_frame_saved, cfa_near, cfa_far, cfa_huge, cfa_below, cfa_here,
    cfa_loaded, cfa_other, cfa_nonsense;

static size_t next_size = 256;
static size_t begin(const char *name, int depth_max) {
  size_t size = next_size;
  next_size *= 2;
  printf("%zu %d %s\n", size, depth_max, name);
  fflush(stdout); /* a crash shall show where */
  return size;
}

/* A stack with an unmapped page on both sides; returns its top. */
static char *lonely_stack(void) {
  size_t page = 4 * KIB;
  char *all = mmap(NULL, STACK_BYTES + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(all, page);
  munmap(all + page + STACK_BYTES, page);
  return all + page + STACK_BYTES;
}

static void wild_frame_pointers(void) {
  size_t size = begin("wild_frame_pointers", 12);
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  const uintptr_t wild[] = {0,
                            1,
                            7,
                            16,
                            4096,
                            here | 1,
                            here | 4,
                            here - 64 * KIB,
                            here + 100 * KIB,
                            here + 64 * KIB * KIB,
                            (uintptr_t)&next_size,
                            (uintptr_t)1 << 46,
                            ((uintptr_t)1 << 47) - 8,
                            (uintptr_t)1 << 62,
                            ~(uintptr_t)0,
                            ~(uintptr_t)7,
                            ~(uintptr_t)15,
                            (uintptr_t)0xffffffffff600000};
  for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
    free(bare_fp(size, (void *)wild[i]));
  }
}

static void cycles(void) {
  size_t size = begin("cyclic_frame_pointers", 12);
  uintptr_t frames[8];
  for (int step = 0; step < 3; step++) {
    /* Each frame leads to itself, to the one below, or to the one above and back. */
    for (int i = 0; i < 4; i++) {
      frames[2 * i] = (uintptr_t)&frames[step == 0   ? 2 * i
                                         : step == 1 ? (i > 0 ? 2 * i - 2 : 6)
                                                     : 2 * (i ^ 1)];
      frames[2 * i + 1] = (uintptr_t)&lonely_stack + 5;
    }
    __asm__ volatile("" ::: "memory");
    free(bare_fp(size, &frames[2]));
  }
}

static void border(void) {
  size_t size = begin("stack_that_borders_on_nothing", 12);
  char *top = lonely_stack();
  for (size_t below = 0; below <= 64; below += 16) {
    for (int offset = -32; offset <= 16; offset += 8) {
      free(bare_stack(size, top + offset, top - below));
    }
  }
}

static void return_addresses(void) {
  size_t size = begin("wild_return_addresses", 76);
  char *top = lonely_stack();
  const uintptr_t wild[] = {0,
                            1,
                            4095,
                            4096,
                            (uintptr_t)top,
                            (uintptr_t)&next_size,
                            (uintptr_t) "text",
                            (uintptr_t)1 << 46,
                            (uintptr_t)1 << 63,
                            ~(uintptr_t)0,
                            (uintptr_t)&malloc,
                            (uintptr_t)&malloc + 1};
  for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
    uintptr_t *words = (uintptr_t *)(void *)(top - 512);
    for (int k = 0; k < 64; k++) {
      words[k] = wild[i];
    }
    free(cfa_near(size, NULL, words));
    free(bare_stack(size, words + 2, words));
    words[2] = (uintptr_t)(words + 4);
    words[4] = (uintptr_t)(words + 60);
    free(cfa_by_frame(size, words + 2, words));
  }
}

static void lies(void) {
  size_t size = begin("tables_that_lie", 12);
  stack_fn *const functions[] = {cfa_by_frame, cfa_by_frame_saved, cfa_near,   cfa_far,   cfa_huge,
                                 cfa_below,    cfa_here,           cfa_loaded, cfa_other, cfa_nonsense};
  char *top = lonely_stack();
  const uintptr_t wild[] = {0,
                            8,
                            15,
                            4100,
                            (uintptr_t)top,
                            (uintptr_t)top - 8,
                            (uintptr_t)top - 16,
                            (uintptr_t)top - 24,
                            (uintptr_t)top - STACK_BYTES,
                            (uintptr_t)1 << 46,
                            ((uintptr_t)1 << 47) - 16,
                            (uintptr_t)1 << 62,
                            ~(uintptr_t)0,
                            ~(uintptr_t)15,
                            ~(uintptr_t)7};
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    for (size_t k = 0; k < sizeof wild / sizeof wild[0]; k++) {
      for (size_t below = 16; below <= 4 * KIB; below += 2 * KIB - 16) {
        free(functions[i](size, (void *)wild[k], top - below / 16 * 16));
      }
    }
  }
}

/*
 * A coroutine's stack, a buffer, and the thread's own stack in one mapping: all readable, until the buffer
 * goes. What was once seen to be readable must not be taken for the thread's stack.
 */
static char *slab;
static void *beside_a_hole(void *arg) {
  size_t size = *(size_t *)arg;
  char *coroutine = slab + STACK_BYTES;
  free(bare_stack(size, NULL, coroutine - 256));
  munmap(coroutine, STACK_BYTES);
  for (size_t above = 0; above < STACK_BYTES; above += 4 * KIB) {
    free(bare_stack(size, coroutine + above, coroutine - 256));
  }
  return NULL;
}

static void hole(void) {
  size_t size = begin("buffer_between_stacks_unmapped", 12);
  slab = mmap(NULL, 6 * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, slab + 2 * STACK_BYTES, 4 * STACK_BYTES);
  pthread_t thread;
  pthread_create(&thread, &attributes, beside_a_hole, &size);
  pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
  static void (*const kinds[])(void) = {wild_frame_pointers, cycles, border, return_addresses, lies, hole};
  kinds[atoi(argv[1])]();
  return 0;
}
