// SPDX-License-Identifier: MIT
// Exceptions through frames of two objects, deep stacks, threads, and what operator new does without memory.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <new>
#include <thread>

#include "thrower.h"

static void across(int kind) {
  try {
    throw_at(20, kind);
  } catch (const heavy_error &error) {
    printf("heavy %s %zu", error.what(), error.payload.size());
  } catch (const std::string &text) {
    printf("string %zu", text.size());
  } catch (int number) {
    printf("int %d", number);
  } catch (const std::exception &error) {
    printf("exception %s", error.what());
  }
  printf(", guards %d\n", live_guards);
}

static void through_callback() {
  try {
    call_back([](int depth) { throw_at(depth, 3); }, 10);
  } catch (const std::out_of_range &) {
    printf("through a callback, guards %d\n", live_guards);
  }
}

static void deep() {
  try {
    throw_at(10000, 0);
  } catch (const heavy_error &error) {
    printf("deep, guards %d\n", live_guards);
  }
}

static int nested(int depth) {
  try {
    if (depth == 0) {
      throw_at(3, 1);
    }
    return nested(depth - 1);
  } catch (const std::string &text) {
    std::string longer = text + std::string(100, 't');
    throw longer;
  }
}

static void many_threads() {
  // Guards are counted without order, so each thread throws without them.
  std::vector<std::future<size_t>> results;
  for (int i = 0; i < 16; i++) {
    results.push_back(std::async(std::launch::async, [i] {
      size_t caught = 0;
      for (int round = 0; round < 300; round++) {
        try {
          throw heavy_error(std::string(200, 'a' + i), 1000 + round);
        } catch (const std::exception &error) {
          caught += error.what()[0];
        }
      }
      if (i % 4 == 0) {
        throw heavy_error("into the future", i);
      }
      return caught;
    }));
  }
  size_t sum = 0, thrown = 0;
  for (auto &result : results) {
    try {
      sum += result.get();
    } catch (const heavy_error &error) {
      thrown += error.payload.size() + 1;
    }
  }
  printf("threads %zu %zu\n", sum, thrown);
}

static int handler_calls;

static void without_memory() {
  volatile size_t too_much = PTRDIFF_MAX / 2;
  try {
    ::operator delete(::operator new(too_much));
    printf("memory that cannot be\n");
  } catch (const std::bad_alloc &) {
    printf("bad_alloc\n");
  }
  printf("nothrow %d\n", ::operator new(too_much, std::nothrow) == nullptr);
  try {
    ::operator delete(::operator new(too_much, std::align_val_t(4096)), std::align_val_t(4096));
    printf("memory that cannot be\n");
  } catch (const std::bad_alloc &) {
    printf("aligned bad_alloc\n");
  }
  std::set_new_handler([] {
    if (++handler_calls == 3) {
      throw std::length_error("enough");
    }
    if (handler_calls > 3) {
      std::set_new_handler(nullptr);
    }
  });
  for (int i = 0; i < 2; i++) {
    try {
      ::operator delete(::operator new(too_much));
    } catch (const std::length_error &) {
      printf("the handler threw after %d calls\n", handler_calls);
    } catch (const std::bad_alloc &) {
      printf("the handler gave up after %d calls\n", handler_calls);
    }
  }
}

int main() {
  for (int round = 0; round < 50; round++) {
    for (int kind = 0; kind < 4; kind++) {
      across(kind);
    }
  }
  through_callback();
  deep();
  std::thread(deep).join();
  try {
    nested(30);
  } catch (const std::string &text) {
    printf("nested %zu, guards %d\n", text.size(), live_guards);
  }
  many_threads();
  without_memory();
  return live_guards;
}
