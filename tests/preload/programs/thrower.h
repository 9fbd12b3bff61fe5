// SPDX-License-Identifier: MIT
// What the shared library gives to the program: functions that throw across their border.
#ifndef THROWER_H
#define THROWER_H

#include <stdexcept>
#include <string>
#include <vector>

struct heavy_error : std::runtime_error {
  heavy_error(const std::string &what, size_t size) : std::runtime_error(what), payload(size, 'x') {}
  std::vector<char> payload;
};

void throw_at(int depth, int kind);
void call_back(void (*function)(int), int argument);
extern int live_guards;

struct guard {
  guard() : text(100, 'g') { live_guards++; }
  ~guard() { live_guards--; }
  std::string text;
};

#endif
