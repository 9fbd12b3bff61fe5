// SPDX-License-Identifier: MIT
#include "thrower.h"

int live_guards;

void throw_at(int depth, int kind) {
  guard local;
  if (depth > 0) {
    throw_at(depth - 1, kind);
    live_guards += local.text.empty(); // no tail call
    return;
  }
  switch (kind) {
    case 0: throw heavy_error("from the library", 5000);
    case 1: throw std::string(300, 's');
    case 2: throw 42;
    default: throw std::out_of_range("out of range");
  }
}

void call_back(void (*function)(int), int argument) {
  guard local;
  try {
    function(argument);
  } catch (const std::logic_error &) {
    throw;
  }
}
