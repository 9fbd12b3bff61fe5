// SPDX-License-Identifier: MIT
//
// What could break a user here: an exception after which the thread goes on under the labels of the call that failed, a
// result that is lost or copied on its way out, an overload that the compiler cannot choose.
#include "tests/api/labels.h"

#include <pthread.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "tests/test.h"

static const char *label(const char *key) {
  const char *value = hp_label(key);
  return value != nullptr ? value : "-";
}

static void check_labels(const char *a, const char *b) {
  CHECK_STRING(label("a"), a);
  CHECK_STRING(label("b"), b);
}

static void throw_error() {
  check_labels("1", "2");
  throw std::runtime_error("wanted");
}

static void throw_error_arg(void *arg) {
  check_labels("1", "2");
  throw *static_cast<int *>(arg);
}

TEST(an_exception_through_the_c_functions_restores) {
  hp_set_labels(hp_labels("a", "1"));
  for (int i = 0; i < 3; i++) {
    bool was_caught = false;
    try {
      hp_do(hp_labels("b", "2"), throw_error);
    } catch (const std::runtime_error &error) {
      was_caught = true;
      check_labels("1", "-");
    }
    CHECK(was_caught, "the exception is lost");
    try {
      hp_do_arg(hp_labels("b", "2"), throw_error_arg, &i);
    } catch (int number) {
      CHECK(number == i, "%d was thrown, not %d", i, number);
      check_labels("1", "-");
    }
  }
}

static void catch_inside(void *) {
  try {
    hp_do(hp_labels("b", "2"), throw_error);
  } catch (const std::runtime_error &) {
    check_labels("1", "outer");
    throw;
  }
}

TEST(each_level_restores_its_own) {
  hp_set_labels(hp_labels("a", "0"));
  try {
    hp_do_arg(hp_labels("a", "1", "b", "outer"), catch_inside, nullptr);
    CHECK(false, "the exception is lost");
  } catch (const std::runtime_error &) {
    check_labels("0", "-");
  }
}

// A destructor that runs while an exception passes sees the labels of its own level.
struct witness {
  const char *expected_b;
  ~witness() {
    check_labels("1", expected_b);
  }
};

TEST(destructors_on_the_way_see_the_labels_of_their_level) {
  hp_set_labels(hp_labels("a", "1"));
  try {
    witness outside{"-"};
    hp_do(hp_labels("b", "2"), [] {
      witness inside{"2"};
      hp_do(hp_labels("b", "3"), []() -> int { throw 1; });
    });
  } catch (int) {
    check_labels("1", "-");
  }
}

TEST(the_template_returns_what_the_function_returns) {
  int number = 7;
  CHECK(hp_do(hp_labels("a", "1"), [&] { return number + (strcmp(label("a"), "1") == 0); }) == 8, "an int");
  int &reference = hp_do(hp_labels("a", "1"), [&]() -> int & { return number; });
  CHECK(&reference == &number, "a reference was copied");
  std::unique_ptr<int> moved = hp_do(hp_labels("a", "1"), [] { return std::unique_ptr<int>(new int(3)); });
  CHECK(*moved == 3, "a value that can only be moved");
  hp_do(hp_labels("a", "1"), [&] { number = 9; });
  CHECK(number == 9 && hp_current_labels().id == 0, "a function without result");
}

TEST(a_scope_ends_by_return_break_and_exception) {
  for (int i = 0; i < 3; i++) {
    HP_SCOPE(hp_labels("a", "1")) {
      HP_SCOPE(hp_labels("b", "2")) {
        check_labels("1", "2");
        break;
      }
      check_labels("1", "-");
    }
    check_labels("-", "-");
  }
  []() -> int {
    HP_SCOPE(hp_labels("a", "1")) {
      return 1;
    }
    return 0;
  }();
  check_labels("-", "-");
  try {
    hp::scope scope(hp_labels("a", "1"));
    check_labels("1", "-");
    throw 1;
  } catch (int) {
  }
  check_labels("-", "-");
}

static pthread_barrier_t inside;

static void wait_to_be_cancelled() {
  pthread_barrier_wait(&inside);
  for (;;) {
    pause();
  }
}

// Runs while the cancelled thread is unwound.
struct at_unwinding {
  std::string *seen;
  ~at_unwinding() {
    *seen = std::string(label("a")) + label("b");
  }
};

static void *run(void *arg) {
  at_unwinding note{static_cast<std::string *>(arg)};
  HP_SCOPE(hp_labels("a", "1")) {
    hp_do(hp_labels("b", "2"), wait_to_be_cancelled);
  }
  return nullptr;
}

TEST(a_cancelled_thread_restores_before_outer_destructors_run) {
  std::string seen;
  pthread_t thread;
  pthread_barrier_init(&inside, nullptr, 2);
  CHECK(pthread_create(&thread, nullptr, run, &seen) == 0, "no thread");
  pthread_barrier_wait(&inside);
  pthread_cancel(thread);
  pthread_join(thread, nullptr);
  CHECK_STRING(seen.c_str(), "--");
}
