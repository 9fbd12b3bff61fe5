/* SPDX-License-Identifier: MIT */
/*
 * main() of every test program. Each test is forked into a process group of its own with an alarm set, so
 * that a crash, a hang or a stray child of one test cannot touch the next.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define EXIT_SKIPPED 77
#define LINE_MAX_BYTES 4096

extern const struct test_case *const __start_test_cases[];
extern const struct test_case *const __stop_test_cases[];

static const char *running = "";

static void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

__attribute__((format(printf, 1, 0)))
static void print_line(const char *format, va_list args) {
  char line[LINE_MAX_BYTES];
  int length = vsnprintf(line, sizeof line - 1, format, args);
  size_t size = length < 0 ? 0 : (size_t)length < sizeof line - 1 ? (size_t)length : sizeof line - 2;
  line[size++] = '\n';
  ssize_t written = write(STDOUT_FILENO, line, size);
  (void)written;
}

static void print(const char *format, ...) {
  va_list args;
  va_start(args, format);
  print_line(format, args);
  va_end(args);
}

void test_fail(const char *file, int line, const char *format, ...) {
  char reason[LINE_MAX_BYTES / 2];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  print("FAIL %s: %s:%d: %s", running, file, line, reason);
  _exit(EXIT_FAILURE);
}

void test_skip(const char *format, ...) {
  char reason[LINE_MAX_BYTES / 2];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  print("skip %s: %s", running, reason);
  _exit(EXIT_SKIPPED);
}

void test_note(const char *format, ...) {
  va_list args;
  va_start(args, format);
  print_line(format, args);
  va_end(args);
}

static void show(char *out, size_t size, struct test_value value) {
  switch (value.kind) {
  case TEST_SIGNED:
    snprintf(out, size, "%lld", value.u.as_signed);
    break;
  case TEST_UNSIGNED:
    snprintf(out, size, "%llu", value.u.as_unsigned);
    break;
  case TEST_POINTER:
    snprintf(out, size, "%p", value.u.as_pointer);
    break;
  default:
    snprintf(out, size, "%.17g", value.u.as_double);
  }
}

void test_fail_eq(const char *file, int line, const char *what, struct test_value actual,
                  struct test_value expected) {
  char left[64];
  char right[64];
  show(left, sizeof left, actual);
  show(right, sizeof right, expected);
  test_fail(file, line, "%s is %s, not %s", what, left, right);
}

static void describe(char *out, size_t size, int status) {
  if (WIFEXITED(status)) {
    snprintf(out, size, "exited with %d", WEXITSTATUS(status));
  } else {
    snprintf(out, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
}

static int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void test_wait_ok(const char *file, int line, int pid) {
  int status = wait_for(pid);
  if (status != 0) {
    char how[128];
    describe(how, sizeof how, status);
    test_fail(file, line, "the child %s", how);
  }
}

int test_capture(void (*run)(void *arg), void *arg, char *text, size_t size) {
  int ends[2];
  CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
  pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    run(arg);
    _exit(EXIT_SUCCESS);
  }
  close(ends[1]);
  size_t length = 0;
  ssize_t count;
  char surplus[256];
  while (length + 1 < size && (count = read(ends[0], text + length, size - 1 - length)) > 0) {
    length += (size_t)count;
  }
  text[length] = '\0';
  while (read(ends[0], surplus, sizeof surplus) > 0) {
  }
  close(ends[0]);
  return wait_for(pid);
}

void test_dies(const char *file, int line, void (*run)(void *arg), void *arg, const char *text) {
  char captured[2048];
  int status = test_capture(run, arg, captured, sizeof captured);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
    char how[128];
    describe(how, sizeof how, status);
    test_fail(file, line, "the child %s instead of aborting; it said \"%s\"", how, captured);
  }
  if (strcmp(captured, text) != 0) {
    test_fail(file, line, "stderr is \"%s\", not \"%s\"", captured, text);
  }
}

static void run_in_child(const struct test_case *test) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGALRM, SIG_DFL);
  alarm(test->seconds);
  test->run();
  print("ok %s", running);
  _exit(EXIT_SUCCESS);
}

/* True unless it failed. */
static bool run_one(const struct test_case *test) {
  running = test->name;
  pid_t pid = fork();
  if (pid < 0) {
    print("FAIL %s: fork: %s", running, strerror(errno));
    return false;
  }
  if (pid == 0) {
    run_in_child(test);
  }
  int status = wait_for(pid);
  kill(-pid, SIGKILL); /* children the test left behind; its group is its own */
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    print("FAIL %s: it did not end within %u s", running, test->seconds);
  } else if (WIFSIGNALED(status)) {
    char how[128];
    describe(how, sizeof how, status);
    print("FAIL %s: it %s", running, how);
  }
  return WIFEXITED(status) && (WEXITSTATUS(status) == EXIT_SUCCESS || WEXITSTATUS(status) == EXIT_SKIPPED);
}

static bool is_wanted(const char *name, int argc, char **argv) {
  bool is_named = argc < 2;
  for (int i = 1; i < argc; i++) {
    is_named |= strcmp(argv[i], name) == 0;
  }
  return is_named;
}

int main(int argc, char **argv) {
  bool only_list = argc == 2 && strcmp(argv[1], "--list") == 0;
  unsigned failed = 0;
  unsigned found = 0;
  for (const struct test_case *const *test = __start_test_cases; test < __stop_test_cases; test++) {
    if (only_list) {
      print("%s", (*test)->name);
    } else if (is_wanted((*test)->name, argc, argv)) {
      found++;
      failed += !run_one(*test);
    }
  }
  if (!only_list && found == 0) {
    print("FAIL %s: no such test; --list prints the names", argv[1]);
    failed = 1;
  }
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
