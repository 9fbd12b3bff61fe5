// SPDX-License-Identifier: MIT
// Allocation while exceptions pass: in the throw, in destructors that clean up, in the handler.
#include <memory>
#include <stdexcept>
#include <string>

extern "C" void leaf();
extern "C" void throwing();

namespace {
struct Cleanup {
  std::string text = "longer than the small string that needs no memory of its own";
  ~Cleanup() {
    leaf();
  }
};
__attribute__((noinline)) void innermost(int n) {
  Cleanup cleanup;
  if (n >= 0) {
    throw std::runtime_error("a text that the exception keeps a copy of");
  }
}
__attribute__((noinline)) void middle(int n) {
  Cleanup cleanup;
  innermost(n);
  leaf();
}
} // namespace

extern "C" void throwing() {
  try {
    middle(1);
  } catch (const std::exception &) {
    leaf();
    try {
      throw;
    } catch (const std::runtime_error &) {
      auto kept = std::make_unique<int>(5);
      __asm__ volatile("" : : "r"(kept.get()) : "memory");
    }
  }
}
