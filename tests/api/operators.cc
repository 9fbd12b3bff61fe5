/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a C++ program whose new and delete do not meet in the same heap, that gets
 * NULL where the standard has an exception, or whose new-handler is not asked.
 */
#include <malloc.h>

#include <new>
#include <string>
#include <thread>
#include <vector>

#include "tests/test.h"

static const size_t kTooLarge = static_cast<size_t>(PTRDIFF_MAX) - 8192;
static volatile size_t too_large = kTooLarge;

struct alignas(256) Wide {
  unsigned char bytes[512];
};

static void *checked(void *block, size_t size, size_t alignment) {
  CHECK(block != nullptr, "no memory");
  CHECK(reinterpret_cast<uintptr_t>(block) % alignment == 0, "%p is not aligned to %zu", block, alignment);
  CHECK(malloc_usable_size(block) >= size, "%zu bytes of %zu: not a block of this malloc",
        malloc_usable_size(block), size);
  memset(block, 0x3c, size);
  return block;
}

static const size_t sizes[] = {0, 1, 100, 5000, 140000, 3000000};

TEST(plain_forms_of_new_meet_all_their_deletes) {
  for (size_t size : sizes) {
    ::operator delete(checked(::operator new(size), size, 16));
    ::operator delete(checked(::operator new(size), size, 16), size);
    ::operator delete(checked(::operator new(size, std::nothrow), size, 16), std::nothrow);
    ::operator delete[](checked(::operator new[](size), size, 16));
    ::operator delete[](checked(::operator new[](size), size, 16), size);
    ::operator delete[](checked(::operator new[](size, std::nothrow), size, 16), std::nothrow);
  }
}

TEST(aligned_forms_of_new_meet_all_their_deletes) {
  for (size_t alignment = 64; alignment <= 4096; alignment *= 2) {
    auto align = static_cast<std::align_val_t>(alignment);
    for (size_t size : sizes) {
      ::operator delete(checked(::operator new(size, align), size, alignment), align);
      ::operator delete(checked(::operator new(size, align), size, alignment), size, align);
      ::operator delete(checked(::operator new(size, align, std::nothrow), size, alignment), align,
                        std::nothrow);
      ::operator delete[](checked(::operator new[](size, align), size, alignment), align);
      ::operator delete[](checked(::operator new[](size, align), size, alignment), size, align);
      ::operator delete[](checked(::operator new[](size, align, std::nothrow), size, alignment), align,
                          std::nothrow);
    }
  }
}

TEST(deleting_null_does_nothing) {
  ::operator delete(nullptr);
  ::operator delete[](nullptr);
  ::operator delete(nullptr, 10);
  ::operator delete(nullptr, std::align_val_t(64));
  ::operator delete(nullptr, std::nothrow);
}

template <typename Allocate> static bool throws_bad_alloc(Allocate allocate) {
  try {
    allocate();
  } catch (const std::bad_alloc &) {
    return true;
  }
  return false;
}

TEST(what_cannot_be_had_throws_bad_alloc) {
  CHECK(throws_bad_alloc([] { return ::operator new(too_large); }), "new");
  CHECK(throws_bad_alloc([] { return ::operator new[](too_large); }), "new[]");
  CHECK(throws_bad_alloc([] { return ::operator new(too_large, std::align_val_t(128)); }), "aligned new");
  CHECK(throws_bad_alloc([] { return ::operator new[](too_large, std::align_val_t(128)); }), "aligned new[]");
}

TEST(what_cannot_be_had_is_null_without_throwing) {
  CHECK(::operator new(too_large, std::nothrow) == nullptr, "new");
  CHECK(::operator new[](too_large, std::nothrow) == nullptr, "new[]");
  CHECK(::operator new(too_large, std::align_val_t(128), std::nothrow) == nullptr, "aligned new");
  CHECK(::operator new[](too_large, std::align_val_t(128), std::nothrow) == nullptr, "aligned new[]");
}

static int calls;

static void give_up_after_three() {
  if (++calls == 3) {
    std::set_new_handler(nullptr);
  }
}

TEST(the_new_handler_is_asked_until_it_gives_up) {
  std::set_new_handler(give_up_after_three);
  CHECK(throws_bad_alloc([] { return ::operator new(too_large); }), "no exception");
  CHECK(calls == 3, "%d calls of the handler", calls);
  calls = 0;
  std::set_new_handler(give_up_after_three);
  CHECK(::operator new(too_large, std::nothrow) == nullptr, "a block");
  CHECK(calls == 3, "%d calls of the handler by the nothrow form", calls);
}

struct Handled {};

TEST(the_new_handler_may_throw_its_own) {
  std::set_new_handler([] { throw Handled(); });
  bool caught = false;
  try {
    ::operator delete(::operator new(too_large));
  } catch (const Handled &) {
    caught = true;
  }
  CHECK(caught, "the exception is lost on its way through malloc");
}

/* The compiler picks the sized and aligned forms here (-fsized-deallocation, alignas). */
TEST(types_and_containers_come_and_go) {
  for (int i = 0; i < 1000; i++) {
    Wide *wide = new Wide;
    CHECK(reinterpret_cast<uintptr_t>(wide) % 256 == 0, "%p", static_cast<void *>(wide));
    delete wide;
    delete[] new Wide[5];
    std::vector<std::string> words;
    for (int k = 0; k < 50; k++) {
      words.push_back(std::string(static_cast<size_t>(k) * 10, 'x'));
    }
    delete new std::string(words[49]);
  }
}

struct InThread {
  std::vector<int> numbers;
  ~InThread() {
    for (int i = 0; i < 1000; i++) {
      numbers.push_back(i);
    }
  }
};
static thread_local InThread in_thread;

TEST(thread_local_destructors_allocate) {
  for (int i = 0; i < 200; i++) {
    std::thread([] { in_thread.numbers.push_back(1); }).join();
  }
}

static std::string *made_before_main = new std::string(1000, 's');

TEST(static_initialisers_allocate) {
  CHECK(made_before_main->size() == 1000 && made_before_main->back() == 's', "content is lost");
  delete made_before_main;
}
