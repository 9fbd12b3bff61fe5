// SPDX-License-Identifier: MIT
// Libraries that come and go while stacks are walked.
//
//   dl_storm storm SECONDS A.so B.so    threads load, unload, throw, allocate and iterate over objects at
//   once dl_storm again CLOSES A.so B.so     A is used and unloaded, CLOSES more dlcloses, then B is used
//   where A was
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using Allocate = void *(size_t);
static std::atomic<bool> stop;
static std::atomic<unsigned long> loads, throws, blocks, objects, moved;
static std::atomic<void *> last_address;

extern "C" __attribute__((noinline)) void use_plugin(Allocate *allocate, size_t size) {
  void *block = allocate(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  free(block);
}

extern "C" __attribute__((noinline)) void *load_and_use(const char *path, size_t size) {
  void *library = dlopen(path, RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::_Exit(2);
  }
  void *address = dlsym(library, "allocate");
  use_plugin(reinterpret_cast<Allocate *>(address), size);
  dlclose(library);
  return address;
}

static void load(const char *a, const char *b, size_t sizes) {
  while (!stop) {
    void *first = load_and_use(a, sizes);
    void *second = load_and_use(b, sizes * 2);
    moved += first != second;
    loads += 2;
  }
}

extern "C" __attribute__((noinline)) void throw_deep(int n) {
  std::string text(100, 'x');
  if (n == 0) {
    throw std::runtime_error(text);
  }
  throw_deep(n - 1);
  __asm__ volatile("" : : "r"(text.data()) : "memory");
}

static void throw_often() {
  while (!stop) {
    try {
      throw_deep(20);
    } catch (const std::exception &e) {
      throws += std::strlen(e.what()) == 100;
    }
  }
}

static int on_object(dl_phdr_info *info, size_t, void *) {
  free(malloc(100 + std::strlen(info->dlpi_name)));
  objects++;
  return 0;
}

static void iterate() {
  while (!stop) {
    dl_iterate_phdr(on_object, nullptr);
  }
}

static void allocate_often() {
  while (!stop) {
    free(malloc(64));
    blocks++;
  }
}

static int storm(unsigned seconds, const char *a, const char *b) {
  std::vector<std::thread> threads;
  threads.emplace_back(load, a, b, 3000);
  threads.emplace_back(load, b, a, 3000);
  threads.emplace_back(throw_often);
  threads.emplace_back(iterate);
  threads.emplace_back(allocate_often);
  unsigned left = seconds; /* the length of the test, not synchronisation */
  while (left > 0) {
    left = sleep(left);
  }
  stop = true;
  for (auto &thread : threads) {
    thread.join();
  }
  std::printf("%lu loads (%lu elsewhere), %lu throws, %lu objects, %lu blocks\n", loads.load(), moved.load(),
              throws.load(), objects.load(), blocks.load());
  return loads > 0 && throws > 0 && objects > 0 && blocks > 0 ? 0 : 1;
}

static int again(int closes, const char *a, const char *b) {
  void *first = load_and_use(a, 3000);
  for (int i = 0; i < closes; i++) {
    dlclose(dlopen(nullptr, RTLD_NOW));
  }
  void *second = load_and_use(b, 6000);
  std::printf("%s\n", first == second ? "same" : "other");
  return 0;
}

int main(int argc, char **argv) {
  int number = std::atoi(argv[2]);
  return std::strcmp(argv[1], "storm") == 0 ? storm(static_cast<unsigned>(number), argv[3], argv[4])
                                            : again(number, argv[3], argv[4]);
}
