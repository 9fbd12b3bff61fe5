// SPDX-License-Identifier: MIT
// pthread_cancel: malloc and free are no cancellation points, and the forced unwinding runs cleanup handlers and
// destructors, which free.
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

static int cleaned, destroyed, finished;

struct owner {
  ~owner() { __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED); }
  std::string text = std::string(5000, 'o');
};

static void clean(void *block) {
  free(block);
  __atomic_fetch_add(&cleaned, 1, __ATOMIC_RELAXED);
}

// Cancelled while it waits.
static void *wait_forever(void *arg) {
  owner local;
  pthread_cleanup_push(clean, malloc(3000));
  char byte;
  while (read(*(int *)arg, &byte, 1) > 0) {
  }
  pthread_cleanup_pop(1);
  return nullptr;
}

// The request is pending from the first line on; only the last line may honour it.
static void *allocate_with_pending_request(void *) {
  owner local;
  pthread_cleanup_push(clean, malloc(3000));
  pthread_cancel(pthread_self());
  for (int i = 0; i < 20000; i++) {
    void *volatile block = malloc((size_t)(i % 300) * (i % 50 == 0 ? 4000 : 20));
    block = realloc(block, (size_t)(i % 700) + 1);
    free(block);
  }
  __atomic_fetch_add(&finished, 1, __ATOMIC_RELAXED);
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return nullptr;
}

int main() {
  int ends[2];
  if (pipe(ends) != 0) {
    return 1;
  }
  int canceled = 0;
  for (int round = 0; round < 5; round++) {
    pthread_t waiting[8], busy[4];
    void *result;
    for (auto &thread : waiting) {
      pthread_create(&thread, nullptr, wait_forever, &ends[0]);
    }
    for (auto &thread : busy) {
      pthread_create(&thread, nullptr, allocate_with_pending_request, nullptr);
    }
    for (auto &thread : waiting) {
      pthread_cancel(thread);
      pthread_join(thread, &result);
      canceled += result == PTHREAD_CANCELED;
    }
    for (auto &thread : busy) {
      pthread_join(thread, &result);
      canceled += result == PTHREAD_CANCELED;
    }
  }
  // A thread that is cancelled before it began has nothing to clean, so only these are the same in every run.
  printf("cancelled %d finished %d balanced %d\n", canceled, finished, cleaned == destroyed);
  return 0;
}
