// SPDX-License-Identifier: MIT
// A C++ library for a program in C that does not know of C++: it brings libstdc++ with it, and throws in itself.
#include <map>
#include <string>

#include "thrower.h"

int live_guards;
static std::map<std::string, std::vector<int>> table;

extern "C" int plugin_work(int count) {
  int caught = 0;
  for (int i = 0; i < count; i++) {
    guard local;
    try {
      table["key" + std::to_string(i % 50)].push_back(i);
      if (i % 3 == 0) {
        throw heavy_error(std::string(50, 'p'), i);
      }
    } catch (const std::runtime_error &error) {
      caught += error.what()[0] == 'p';
    }
  }
  return caught + live_guards;
}
