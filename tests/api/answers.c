/* SPDX-License-Identifier: MIT */
/*
 * Prints how a malloc answers unusual requests, one line each. answers.sh runs it under glibc and under
 * halloc and compares: whoever relies on what glibc does gets the same from us.
 */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {0,
                               1,
                               16,
                               4096,
                               200000,
                               (size_t)1 << 46,
                               (size_t)1 << 62,
                               (size_t)PTRDIFF_MAX - 4096,
                               PTRDIFF_MAX,
                               (size_t)PTRDIFF_MAX + 1,
                               SIZE_MAX - 4096,
                               SIZE_MAX - 16,
                               SIZE_MAX};
static const size_t alignments[] = {
    0, 1, 3, 8, 16, 24, 64, 4096, 65536, (size_t)1 << 62, (size_t)1 << 63, ((size_t)1 << 63) + 1, SIZE_MAX};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void show(const char *what, size_t first, size_t second, void *result) {
  int error = errno;
  printf("%s(%zx, %zx) %s %s\n", what, first, second, result != NULL ? "block" : "NULL",
         error == 0 ? "0" : strerrorname_np(error));
  free(result);
  errno = 0;
}

static void show_posix_memalign(size_t alignment, size_t size) {
  void *block = show_posix_memalign;
  int error = posix_memalign(&block, alignment, size);
  printf("posix_memalign(%zx, %zx) %s pointer %s errno %s\n", alignment, size,
         error == 0 ? "0" : strerrorname_np(error),
         block == (void *)show_posix_memalign ? "untouched" : "set",
         errno == 0 ? "0" : strerrorname_np(errno));
  if (error == 0) {
    free(block);
  }
  errno = 0;
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  printf("halloc's answers must be these\n");
  errno = 0;
  for (size_t i = 0; i < COUNT(sizes); i++) {
    show("malloc", sizes[i], 0, malloc(sizes[i]));
    show("valloc", sizes[i], 0, valloc(sizes[i]));
    show("pvalloc", sizes[i], 0, pvalloc(sizes[i]));
    show("realloc NULL", sizes[i], 0, realloc(NULL, sizes[i]));
    for (size_t k = 0; k < COUNT(sizes); k++) {
      show("calloc", sizes[i], sizes[k], calloc(sizes[i], sizes[k]));
      show("reallocarray NULL", sizes[i], sizes[k], reallocarray(NULL, sizes[i], sizes[k]));
    }
    void *block = malloc(100);
    void *moved = realloc(block, sizes[i]);
    if (moved == NULL && sizes[i] != 0) {
      free(block);
    }
    show("realloc block", sizes[i], 0, moved);
  }
  for (size_t i = 0; i < COUNT(alignments); i++) {
    for (size_t k = 0; k < COUNT(sizes); k++) {
      show("memalign", alignments[i], sizes[k], memalign(alignments[i], sizes[k]));
      show("aligned_alloc", alignments[i], sizes[k], aligned_alloc(alignments[i], sizes[k]));
      show_posix_memalign(alignments[i], sizes[k]);
    }
  }
  printf("malloc_usable_size(NULL) %zu\n", malloc_usable_size(NULL));
  printf("mallopt %d\n", mallopt(M_MMAP_THRESHOLD, 1 << 20));
  return 0;
}
