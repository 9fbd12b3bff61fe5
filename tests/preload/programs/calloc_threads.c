// SPDX-License-Identifier: MIT
// Threads that grow: pages are carved for one thread while blocks of the same page come back from another. calloc
// may skip clearing only what it knows to be untouched.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 512, ROUNDS = 60000, THREADS = 8 };
static int dirty;

static int is_zero(const volatile unsigned char *block) {
  for (int i = 0; i < SIZE; i++) {
    if (block[i] != 0) {
      return 0;
    }
  }
  return 1;
}

static void fill(volatile unsigned char *block) {
  for (int i = 0; i < SIZE; i++) {
    block[i] = 0xff;
  }
}

static void *work(void *arg) {
  (void)arg;
  for (int i = 0; i < ROUNDS; i++) {
    void *freed = calloc(1, SIZE);
    void *kept = calloc(1, SIZE);
    if (!is_zero(freed) || !is_zero(kept)) {
      __atomic_fetch_add(&dirty, 1, __ATOMIC_RELAXED);
    }
    fill(freed);
    fill(kept);
    free(freed);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, work, NULL);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  printf("%d blocks from calloc were not zero\n", dirty);
  return dirty != 0;
}
