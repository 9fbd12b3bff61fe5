// SPDX-License-Identifier: MIT
// C++ exceptions and cancellation: as a program, or with -DPLUGIN as a library that a C program loads.
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

static int destroyed;
struct Counter {
  std::unique_ptr<int> owned{new int(1)};
  ~Counter() {
    free(malloc(40));
    destroyed += *owned;
  }
};

// Deep: every frame has something to destroy in every hundredth call only, so that the stack stays below 8
// MiB.
__attribute__((noinline)) static int dive(int n) {
  if (n == 0) {
    throw std::runtime_error(std::string(200, 'x'));
  }
  int result;
  if (n % 100 == 0) {
    Counter counter;
    result = dive(n - 1);
  } else {
    result = dive(n - 1);
  }
  __asm__ volatile("" : "+r"(result));
  return result + 1;
}

extern "C" int throw_through(int frames) {
  destroyed = 0;
  try {
    dive(frames);
  } catch (const std::exception &error) {
    return std::string(error.what()).size() == 200 && destroyed == frames / 100 ? 0 : 1;
  }
  return 2;
}

static int cleaned;
static sem_t is_ready;

static void clean(void *) {
  free(malloc(70));
  cleaned++;
}

static void *wait_to_be_cancelled(void *) {
  Counter counter;
  pthread_cleanup_push(clean, nullptr);
  sem_post(&is_ready);
  for (;;) {
    free(malloc(10));
    pause();
  }
  pthread_cleanup_pop(0);
  return nullptr;
}

extern "C" int cancel(int count) {
  cleaned = destroyed = 0;
  sem_init(&is_ready, 0, 0);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, nullptr, wait_to_be_cancelled, nullptr) != 0) {
      return 3;
    }
    sem_wait(&is_ready);
    if (pthread_cancel(thread) != 0 || pthread_join(thread, &result) != 0 || result != PTHREAD_CANCELED) {
      return 4;
    }
  }
  return cleaned == count && destroyed == count ? 0 : 5;
}

#ifndef PLUGIN
int main(int, char **argv) {
  int frames = std::atoi(argv[1]);
  int result = throw_through(1000) + throw_through(frames) + cancel(50);
  std::printf("%d\n", result);
  return result;
}
#endif
