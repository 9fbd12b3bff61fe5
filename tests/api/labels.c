/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a thread that goes on under labels that are not its own any more (after an
 * error path, a cancelled call, a request served by a pool), labels that a new thread loses, a label function
 * that allocates.
 *
 * Not restored, and documented so: what longjmp leaves. How many bytes each label is given is tested by
 * labels.py.
 */
#include "tests/api/labels.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "tests/api/hp.h"

static const char *label(const char *key) {
  const char *value = hp_label(key);
  return value != NULL ? value : "-";
}

static void check_labels(const char *a, const char *b) {
  CHECK_STRING(label("a"), a);
  CHECK_STRING(label("b"), b);
}

TEST(labels_are_key_and_value_pairs) {
  hp_set_labels(hp_labels("a", "1", "b", "2", "a", "3"));
  check_labels("3", "2");
  hp_set_labels(hp_labels("a", "1", "b")); /* a key without a value */
  check_labels("1", "-");
  hp_set_labels(hp_labels("a", NULL, "b", "2")); /* getenv() of something unset */
  check_labels("-", "2");
  hp_set_labels((hp_labels)("a", "1", "b", "2", NULL)); /* the function itself */
  check_labels("1", "2");
  CHECK_EQ(hp_labels("a", "").id, 0u);
  CHECK_EQ(hp_labels(NULL, NULL).id, 0u);
  CHECK_EQ(hp_labels("b", "2", "a", "1").id, hp_current_labels().id);
  CHECK(hp_label(NULL) == NULL && hp_label("") == NULL && hp_label("c") == NULL, "there is another label");
}

/* ---- nesting ---- */

static void inner(void) {
  check_labels("outer", "inner");
  hp_set_labels(hp_labels("a", "changed")); /* must not be left behind */
}

static void same(void) {
  check_labels("outer", "outer");
}

static void outer(void *arg) {
  CHECK_EQ(*(int *)arg, 42);
  check_labels("outer", "outer");
  hp_do(hp_labels("b", "inner"), inner);
  check_labels("outer", "outer");
  hp_do((hp_labels_t){0}, same); /* no labels are added, none are taken away */
}

TEST(nested_sets_merge_and_leaving_restores_what_the_thread_had) {
  int arg = 42;
  hp_do_arg(hp_labels("a", "outer", "b", "outer"), outer, &arg);
  CHECK_EQ(hp_current_labels().id, 0u);
  hp_set_labels(hp_labels("c", "mine"));
  hp_do_arg(hp_labels("a", "outer", "b", "outer"), outer, &arg);
  CHECK_EQ(hp_current_labels().id, hp_labels("c", "mine").id);
  check_labels("-", "-");
}

TEST(set_and_add_return_the_set_before) {
  hp_labels_t a = hp_labels("a", "1"), b = hp_labels("b", "2");
  CHECK_EQ(hp_set_labels(a).id, 0u);
  CHECK_EQ(hp_add_labels(b).id, a.id);
  check_labels("1", "2");
  CHECK_EQ(hp_set_labels(b).id, hp_labels("a", "1", "b", "2").id);
  check_labels("-", "2");
}

static int leave(int how) {
  for (int i = 0; i < 2; i++) {
    HP_SCOPE(hp_labels("a", "1")) {
      check_labels("1", "-");
      HP_SCOPE(hp_labels("b", "2")) {
        check_labels("1", "2");
        if (how == 1) {
          return 1;
        }
        if (how == 2) {
          goto out;
        }
        if (how == 3) {
          break;
        }
        if (how == 4) {
          continue;
        }
      }
      check_labels("1", "-");
    }
    check_labels("-", "-");
  }
out:
  return 0;
}

TEST(a_scope_ends_however_it_is_left) {
  for (int how = 0; how < 5; how++) {
    leave(how);
    CHECK(hp_current_labels().id == 0, "way %d leaves labels", how);
  }
}

static jmp_buf back;

static void jump(void) {
  longjmp(back, 1);
}

static void jump_and_go_on(void) {
  if (setjmp(back) == 0) {
    hp_do(hp_labels("b", "jumped"), jump);
  }
  check_labels("outer", "jumped"); /* documented: as it was where longjmp was called */
}

TEST(what_longjmp_leaves_an_outer_end_restores) {
  hp_do(hp_labels("a", "outer"), jump_and_go_on);
  check_labels("-", "-");
  hp_labels_t before = hp_current_labels();
  if (setjmp(back) == 0) {
    hp_do(hp_labels("b", "jumped"), jump);
  }
  check_labels("-", "jumped");
  hp_set_labels(before);
  check_labels("-", "-");
}

/* ---- the end of a thread ---- */

static pthread_key_t key;
static char seen_at_end[64];
static pthread_barrier_t inside;

static void note_at_end(void *value) {
  (void)value;
  snprintf(seen_at_end, sizeof seen_at_end, "a=%s b=%s", label("a"), label("b"));
}

static void leave_thread(void) {
  check_labels("thread", "inner");
  pthread_exit(NULL);
}

static void wait_to_be_cancelled(void) {
  check_labels("thread", "inner");
  pthread_barrier_wait(&inside);
  for (;;) {
    pause();
  }
}

static void do_inner(void *fn) {
  hp_do(hp_labels("b", "inner"), (void (*)(void))fn);
}

static void *run_inner(void *fn) {
  pthread_setspecific(key, &key);
  hp_set_labels(hp_labels("a", "thread"));
  hp_do_arg(hp_labels("b", "middle"), do_inner, fn);
  return NULL;
}

static void check_end(void (*fn)(void), bool is_cancelled) {
  pthread_t thread;
  pthread_key_create(&key, note_at_end);
  pthread_barrier_init(&inside, NULL, 2);
  CHECK_EQ(pthread_create(&thread, NULL, run_inner, (void *)fn), 0);
  if (is_cancelled) {
    pthread_barrier_wait(&inside);
    pthread_cancel(thread);
  }
  pthread_join(thread, NULL);
  CHECK_STRING(seen_at_end, "a=thread b=-");
}

TEST(pthread_exit_restores) {
  check_end(leave_thread, false);
}

TEST(cancellation_restores) {
  check_end(wait_to_be_cancelled, true);
}

/* ---- threads ---- */

static void *note_labels(void *arg) {
  hp_labels_t *seen = arg;
  *seen = hp_set_labels(hp_labels("a", "own"));
  return arg;
}

static int note_labels_c11(void *arg) {
  note_labels(arg);
  return 42;
}

static hp_labels_t labels_of_new_thread(void) {
  pthread_t thread;
  hp_labels_t seen = {99};
  void *result = NULL;
  CHECK_EQ(pthread_create(&thread, NULL, note_labels, &seen), 0);
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK_EQ(result, (void *)&seen);
  return seen;
}

static void create_in_inner(void) {
  CHECK_EQ(labels_of_new_thread().id, hp_current_labels().id);
  CHECK_EQ(hp_current_labels().id, hp_labels("a", "1", "b", "2").id);
}

TEST(threads_inherit_the_set_they_are_created_in) {
  CHECK_EQ(labels_of_new_thread().id, 0u);
  hp_set_labels(hp_labels("a", "1"));
  hp_do(hp_labels("b", "2"), create_in_inner);
  CHECK_EQ(labels_of_new_thread().id, hp_labels("a", "1").id);
  check_labels("1", "-");
  thrd_t thread;
  hp_labels_t seen = {99};
  int result = 0;
  CHECK_EQ(thrd_create(&thread, note_labels_c11, &seen), (int)thrd_success);
  CHECK_EQ(thrd_join(thread, &result), (int)thrd_success);
  CHECK_EQ(result, 42);
  CHECK_EQ(seen.id, hp_labels("a", "1").id);
}

TEST(a_thread_that_cannot_be_created_costs_nothing) {
  pthread_attr_t attributes;
  pthread_t thread;
  hp_labels_t seen;
  pthread_attr_init(&attributes);
  CHECK_EQ(pthread_attr_setstacksize(&attributes, (size_t)1 << 46), 0);
  hp_set_labels(hp_labels("a", "1"));
  uint64_t before = 0;
  for (int i = 0; i < 100000; i++) {
    CHECK_EQ(pthread_create(&thread, &attributes, note_labels, &seen), EAGAIN);
    before = i == 100 ? hp_stats().BuckHashSys : before;
  }
  CHECK_EQ(hp_stats().BuckHashSys, before);
}

TEST(threads_leave_nothing_behind) {
  hp_set_labels(hp_labels("a", "1"));
  uint64_t before = 0;
  for (int i = 0; i < 5000; i++) {
    labels_of_new_thread();
    before = i == 100 ? hp_stats().BuckHashSys : before;
  }
  CHECK_EQ(hp_stats().BuckHashSys, before);
}

TEST(a_forked_child_goes_on_with_its_threads_labels) {
  hp_set_labels(hp_labels("a", "1"));
  int pid = fork();
  if (pid == 0) {
    check_labels("1", "-");
    hp_set_labels(hp_labels("b", "new"));
    check_labels("-", "new");
    _exit(0);
  }
  CHECK_CHILD(pid);
}

/* ---- cost ---- */

static void nothing(void) {
  __asm__ volatile("");
}

TEST(prepared_sets_and_their_making_allocate_nothing) {
  hp_labels_t a = hp_labels("a", "1"), b = hp_labels("b", "2");
  hp_set_labels(b);
  hp_do(a, nothing);
  hp_do(hp_labels("a", "1", "c", "3"), nothing);
  uint64_t before = hp_stats().Mallocs;
  uint64_t tables = hp_stats().Sys;
  for (int i = 0; i < 1000; i++) {
    hp_do(a, nothing);
    HP_SCOPE(hp_labels("a", "1", "c", "3")) {
      nothing();
    }
  }
  CHECK_EQ(hp_stats().Mallocs, before);
  CHECK_EQ(hp_stats().Sys, tables);
}

static double nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

#define CALLS 100000

/* The smallest of many, so that what else the machine does is left out. */
TEST(a_call_under_a_prepared_set_takes_ten_nanoseconds_or_four_empty_calls) {
  hp_labels_t a = hp_labels("a", "1");
  void (*volatile call)(void) = nothing;
  double empty = 1e9, pair = 1e9;
  hp_set_labels(hp_labels("b", "2"));
  for (int round = 0; round < 400; round++) {
    double start = nanos();
    for (int i = 0; i < CALLS; i++) {
      call();
    }
    double middle = nanos();
    for (int i = 0; i < CALLS; i++) {
      hp_do(a, nothing);
    }
    double end = nanos();
    empty = middle - start < empty ? middle - start : empty;
    pair = end - middle < pair ? end - middle : pair;
  }
  test_note("hp_do %.2f ns, an empty call %.2f ns", pair / CALLS, empty / CALLS);
  CHECK(pair / CALLS <= 10 || pair <= 4 * empty, "%.2f ns, an empty call %.2f ns", pair / CALLS,
        empty / CALLS);
}

/* The profile's text form, in a mapping of its own. */
static const char *profile_text(void) {
  int fd = memfd_create("text", MFD_CLOEXEC);
  CHECK_EQ(hp_profile("heap", fd, 1), 0);
  size_t size = (size_t)lseek(fd, 0, SEEK_END);
  char *text = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(text != MAP_FAILED, "no memory for the test");
  close(fd);
  return text;
}

TEST(a_million_values_take_bounded_memory_and_the_rest_is_shown) {
  char value[32];
  uint64_t before = hp_stats().Sys;
  for (int i = 0; i < 1000000; i++) {
    snprintf(value, sizeof value, "request-%d", i);
    HP_SCOPE(hp_labels("id", value)) {
      nothing();
    }
  }
  uint64_t grown = hp_stats().Sys - before;
  CHECK(grown <= (uint64_t)17 << 20, "%lu bytes", (unsigned long)grown);
  hp_set_labels(hp_labels("id", value));
  CHECK_STRING(label("id"), "[other]");
  hp_rate(1);
  void *block = malloc(1000);
  const char *text = profile_text();
  CHECK(strstr(text, "\n# labels: {\"id\":\"[other]\"}\n") != NULL, "[other] is not in the profile");
  free(block);
}

/* ---- the text form ---- */

TEST(the_text_form_has_labels_as_go_writes_them) {
  hp_rate(1);
  hp_labels_t set = hp_labels("z_key", "a \"quoted\\ value", "a_key", "gr\xc3\xbc\xc3\x9f");
  void *block = NULL;
  HP_SCOPE(set) {
    block = malloc(1000);
  }
  const char *line = strstr(profile_text(), "\n# labels: ");
  CHECK(line != NULL, "no labels");
  static const char expected[] =
      "\n# labels: {\"a_key\":\"gr\xc3\xbc\xc3\x9f\", \"z_key\":\"a \\\"quoted\\\\ value\"}\n#\t0x";
  CHECK(strncmp(line, expected, sizeof expected - 1) == 0, "%.100s", line + 1);
  CHECK(strstr(line + 2, "# labels") == NULL, "a row without labels has some");
  free(block);
}
