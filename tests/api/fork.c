/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a forked child of a threaded program that hangs for ever in malloc, in free,
 * in stdio or while writing a profile, perhaps with its signals blocked. A child has five seconds; then it is
 * killed and the test fails.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/hp.h"

#define FORKS 1500
#define CHILD_SECONDS 5
#define CHURNERS 3

static int is_over;

static void *churn(void *arg) {
  uint64_t random = (uintptr_t)arg;
  void *blocks[64] = {NULL};
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    size_t i = test_random(&random) % 64;
    free(blocks[i]);
    blocks[i] = malloc(test_random(&random) % 512 == 0 ? 1 << 20 : test_random(&random) % 5000 + 1);
  }
  return NULL;
}

static void start(void *(*run)(void *), int count) {
  for (int i = 1; i <= count; i++) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, run, (void *)(intptr_t)i), 0);
  }
}

/* The watchdog is the kernel's: SIGALRM can be blocked by what hangs, so the parent's poll kills with
 * SIGKILL. */
static void wait_or_kill(pid_t pid, int number) {
  int status;
  for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited++) {
    struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
    if (waited > CHILD_SECONDS * 1000) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      test_fail(__FILE__, __LINE__, "child %d hung for %d s", number, CHILD_SECONDS);
    }
  }
  CHECK(status == 0, "child %d ended with status %#x", number, status);
}

static void use_heap(void) {
  void *blocks[60];
  for (size_t i = 0; i < 60; i++) {
    blocks[i] = malloc(i % 20 == 0 ? 300000 : i * 97 + 1);
    if (blocks[i] == NULL) {
      _exit(2);
    }
    memset(blocks[i], 1, i * 97 + 1);
  }
  for (size_t i = 0; i < 60; i++) {
    free(blocks[i]);
  }
}

static void storm(int forks, void (*in_child)(void)) {
  for (int i = 0; i < forks; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
      in_child();
      _exit(0);
    }
    wait_or_kill(pid, i);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
}

TEST_WITHIN(120, children_allocate_while_the_parents_threads_do) {
  hp_rate(512);
  start(churn, CHURNERS);
  storm(FORKS, use_heap);
}

static void profile_and_fork_again(void) {
  int fd = open("/dev/null", O_WRONLY);
  if (hp_profile("heap", fd, 0) != 0) {
    _exit(3);
  }
  close(fd);
  pid_t pid = fork();
  if (pid == 0) {
    use_heap();
    _exit(0);
  }
  int status;
  _exit(waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 4);
}

TEST_WITHIN(120, children_write_profiles_and_fork_again) {
  hp_rate(512);
  start(churn, CHURNERS);
  storm(150, profile_and_fork_again);
}

static void *write_profiles(void *arg) {
  int fd = open("/dev/null", O_WRONLY);
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    hp_profile("allocs", fd, 0);
    hp_stats();
  }
  close(fd);
  return arg;
}

TEST_WITHIN(120, children_are_made_while_a_profile_is_written) {
  hp_rate(512);
  start(write_profiles, 1);
  start(churn, 1);
  storm(100, profile_and_fork_again);
}

/* Loading halloc's library for profiles is the first thing that a profile does. */
#define LOADING_PROCESSES 150
#define CHILDREN_MAX 20

static void *write_first_profile(void *arg) {
  int fd = open("/dev/null", O_WRONLY);
  hp_profile("heap", fd, 0);
  close(fd);
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  return arg;
}

static void fork_while_loading(void) {
  pthread_t thread;
  pid_t children[CHILDREN_MAX];
  int count = 0;
  pthread_create(&thread, NULL, write_first_profile, NULL);
  do {
    children[count] = fork();
    if (children[count] == 0) {
      profile_and_fork_again();
    }
    count++;
  } while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE) && count < CHILDREN_MAX);
  for (int i = 0; i < count; i++) {
    int status;
    if (waitpid(children[i], &status, 0) != children[i] || status != 0) {
      _exit(5);
    }
  }
  pthread_join(thread, NULL);
  _exit(0);
}

TEST_WITHIN(120, children_are_made_while_the_library_for_profiles_is_loaded) {
  for (int i = 0; i < LOADING_PROCESSES; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      fork_while_loading();
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "process %d: status 0x%x", i, (unsigned)status);
  }
}

/* stdio's lock order: a thread holds stdio's list lock and wants memory, while fork holds the allocator's. */
static void *flush_all(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    fflush(NULL);
  }
  return arg;
}

static void *open_streams(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    for (int i = 0; i < 200; i++) {
      fprintf(stream, "%d some text that makes it grow", i);
    }
    fclose(stream);
    free(text);
  }
  return arg;
}

static void use_stdio(void) {
  FILE *file = fopen("/dev/null", "w");
  fprintf(file, "text");
  fclose(file);
  fflush(NULL);
  use_heap();
}

TEST_WITHIN(120, children_use_stdio_while_the_parents_threads_do) {
  hp_rate(4096);
  start(flush_all, 1);
  start(open_streams, 2);
  storm(500, use_stdio);
}

static void *use_stdio_in_thread(void *arg) {
  use_stdio();
  return arg;
}

static void use_stdio_in_a_new_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, use_stdio_in_thread, NULL) != 0) {
    _exit(5);
  }
  pthread_join(thread, NULL);
}

/* The parent never had a second thread: glibc then skips what it does about stdio's locks around fork. */
TEST(a_child_of_an_unthreaded_process_starts_threads_that_use_stdio) {
  storm(3, use_stdio_in_a_new_thread);
}

TEST(a_child_of_a_threaded_process_starts_threads_that_use_stdio) {
  start(churn, CHURNERS);
  storm(200, use_stdio_in_a_new_thread);
}

static void *fork_in_thread(void *arg) {
  for (int i = 0; i < 100; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      use_heap();
      _exit(0);
    }
    wait_or_kill(pid, i);
  }
  return arg;
}

TEST_WITHIN(40, several_threads_fork_at_once) {
  pthread_t threads[4];
  hp_rate(512);
  start(churn, 2);
  for (int i = 0; i < 4; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, fork_in_thread, NULL), 0);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
}

/* The child frees what the parent's other threads allocated, and finds its own statistics in order. */
static void *shared_blocks[4000];

static void *allocate_shared(void *arg) {
  for (int i = 0; i < 4000; i++) {
    shared_blocks[i] = malloc(200);
  }
  return arg;
}

static void free_shared(void) {
  uint64_t before = hp_stats().HeapObjects;
  for (int i = 0; i < 4000; i++) {
    free(shared_blocks[i]);
  }
  if (before - hp_stats().HeapObjects != 4000 || hp_stats().Threads != 1) {
    _exit(6);
  }
}

TEST(a_child_frees_blocks_of_threads_it_does_not_have) {
  const int64_t rates[] = {0, 1, 512};
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    hp_rate(rates[i]);
    pthread_create(&thread, NULL, allocate_shared, NULL);
    pthread_join(thread, NULL);
    storm(5, free_shared);
  }
}

/* Sampling goes on in children. */
TEST(children_go_on_sampling) {
  static int64_t sampled[2];
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  hp_rate(4096);
  for (int child = 0; child < 2; child++) {
    pid_t pid = fork();
    if (pid == 0) {
      for (int i = 0; i < 100000; i++) {
        free(malloc(64));
      }
      int64_t count = profile_sums().sampled[ALLOC_OBJECTS];
      _exit(write(ends[1], &count, sizeof count) != sizeof count);
    }
    wait_or_kill(pid, child);
    CHECK(read(ends[0], &sampled[child], sizeof sampled[child]) == sizeof sampled[child], "no answer");
  }
  /* About Poisson with mean 1550, sigma 39: 250 is above 6 sigma. */
  CHECK(sampled[0] > 1300 && sampled[1] > 1300, "%ld and %ld samples", (long)sampled[0], (long)sampled[1]);
}
