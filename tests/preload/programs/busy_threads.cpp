// SPDX-License-Identifier: MIT
//
// 16 threads that replace strings in maps of their own and keep some larger buffers, until killed. Prints a line when all
// have built theirs up.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

static std::atomic<int> built{0};

static void work(unsigned seed) {
  std::mt19937 random(seed);
  std::map<unsigned, std::string> strings;
  std::vector<std::vector<char>> buffers;
  for (int i = 0; i < 10000; i++) strings[random()] = std::string(random() % 400, 'x');
  for (int i = 0; i < 8; i++) buffers.emplace_back(300000 + random() % 500000, 'y');
  built++;
  for (;;) {
    for (int i = 0; i < 100; i++) {
      auto at = strings.lower_bound(static_cast<unsigned>(random()));
      if (at != strings.end()) strings.erase(at);
      strings[random()] = std::string(random() % 400, 'x');
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int main() {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 16; i++) threads.emplace_back(work, i);
  while (built < 16) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::puts("built");
  std::fflush(stdout);
  for (;;) pause();
}
