/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a process killed by a late SIGPROF, its own handler taken over, bytes written
 * into a file that is not the profile's, a child that is charged for its parent, calls that fail with EINTR
 * only when profiled.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/api/hp.h"

static int start_profile(int fd) {
  int (*start)(int);
  *(void **)&start = dlsym(RTLD_DEFAULT, "hp_start_cpu_profile");
  CHECK(start != NULL, "hp_start_cpu_profile is not in this process");
  return start(fd);
}

static int stop_profile(void) {
  int (*stop)(void);
  *(void **)&stop = dlsym(RTLD_DEFAULT, "hp_stop_cpu_profile");
  return stop();
}

static int new_file(void) {
  int fd = memfd_create("profile", MFD_CLOEXEC);
  CHECK(fd >= 0, "memfd_create: %s", strerror(errno));
  return fd;
}

/* True if the file holds something that begins as gzip does. */
static bool holds_profile(int fd) {
  unsigned char head[2] = {0, 0};
  return pread(fd, head, sizeof head, 0) == sizeof head && head[0] == 0x1f && head[1] == 0x8b;
}

static int64_t cpu_nanos(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void burn(int milliseconds) {
  int64_t end = cpu_nanos() + (int64_t)milliseconds * 1000000;
  while (cpu_nanos() < end) {
  }
}

TEST(a_profile_is_written_at_the_end_and_another_can_begin) {
  int fd = new_file();
  CHECK_EQ(stop_profile(), -EINVAL);
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(start_profile(fd), 0);
    CHECK_EQ(start_profile(fd), -EBUSY);
    burn(50);
    CHECK_EQ(stop_profile(), 0);
    CHECK(holds_profile(fd), "profile %d is no gzip file", i);
    CHECK_EQ(stop_profile(), -EINVAL);
  }
  CHECK_EQ(start_profile(-1), -EBADF);
  CHECK_EQ(start_profile(fd), 0);
  CHECK_EQ(stop_profile(), 0);
}

TEST(a_late_signal_does_not_end_the_process) {
  int fd = new_file();
  CHECK_EQ(start_profile(fd), 0);
  burn(30);
  CHECK_EQ(stop_profile(), 0);
  CHECK_EQ(raise(SIGPROF), 0);
  CHECK_EQ(kill(getpid(), SIGPROF), 0);
}

TEST(an_ignored_signal_is_ignored_again) {
  struct sigaction now;
  int fd = new_file();
  signal(SIGPROF, SIG_IGN);
  CHECK_EQ(start_profile(fd), 0);
  burn(30);
  CHECK_EQ(stop_profile(), 0);
  CHECK_EQ(sigaction(SIGPROF, NULL, &now), 0);
  CHECK(now.sa_handler == SIG_IGN, "it is handled");
}

static volatile int own_signals;

static void own_handler(int number) {
  (void)number;
  own_signals++;
}

static void start_with_own_handler(void *arg) {
  (void)arg;
  signal(SIGPROF, own_handler);
  int error = start_profile(new_file());
  _exit(error == -EBUSY ? 0 : 1);
}

TEST(the_programs_own_handler_is_not_taken_over) {
  struct sigaction before, after;
  char text[512];
  CHECK_EQ(test_capture(start_with_own_handler, NULL, text, sizeof text), 0);
  CHECK_STRING(text, "halloc: CPU profile: the program handles SIGPROF itself: expected no handler of it; no "
                     "profile is taken\n");
  signal(SIGPROF, own_handler);
  sigaction(SIGPROF, NULL, &before);
  CHECK_EQ(start_profile(new_file()), -EBUSY);
  sigaction(SIGPROF, NULL, &after);
  CHECK(after.sa_handler == before.sa_handler && after.sa_flags == before.sa_flags, "the handler changed");
  burn(50);
  CHECK_EQ(own_signals, 0);
  raise(SIGPROF);
  CHECK_EQ(own_signals, 1);
}

TEST(the_descriptor_may_be_closed_meanwhile_and_its_number_used_again) {
  int ends[2];
  int fd = new_file();
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int again = open(path, O_RDONLY);
  CHECK_EQ(start_profile(fd), 0);
  close(fd);
  CHECK_EQ(stop_profile(), 0);
  CHECK(holds_profile(again), "closing the descriptor lost the profile");
  CHECK_EQ(start_profile(again), 0);
  for (int number = 3; number < 1024; number++) {
    close(number);
  }
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  for (int number = 100; number < 120; number++) {
    dup2(ends[0], number);
  }
  CHECK_EQ(stop_profile(), -EBADF);
  char byte;
  CHECK(recv(ends[1], &byte, 1, MSG_DONTWAIT) == -1, "the program's socket got bytes of ours");
  for (int number = 100; number < 120; number++) {
    CHECK(fcntl(number, F_GETFD) >= 0, "the program's descriptor %d was closed", number);
  }
}

static void child_takes_one_of_its_own(void) {
  int fd = new_file();
  if (stop_profile() != -EINVAL || start_profile(fd) != 0) {
    _exit(2);
  }
  burn(30);
  if (stop_profile() != 0 || !holds_profile(fd)) {
    _exit(3);
  }
  raise(SIGPROF);
  _exit(0);
}

TEST(a_forked_child_has_no_profile_and_may_begin_one) {
  int fd = new_file();
  CHECK_EQ(start_profile(fd), 0);
  for (int i = 0; i < 20; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      child_takes_one_of_its_own();
    }
    burn(10);
    CHECK_CHILD(pid);
  }
  CHECK_EQ(stop_profile(), 0);
  CHECK(holds_profile(fd), "no profile");
}

TEST(exec_in_the_middle_is_survived) {
  pid_t pid = fork();
  if (pid == 0) {
    start_profile(new_file());
    burn(20);
    execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", NULL);
    _exit(9);
  }
  CHECK_CHILD(pid);
}

static int is_over; /* atomic */

static void *churn_thread(void *arg) {
  for (int i = 0; i < 200; i++) {
    free(malloc((size_t)i * 10));
  }
  return arg;
}

static void *make_threads(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
      CHECK_EQ(pthread_create(&threads[i], NULL, churn_thread, arg), 0);
    }
    for (int i = 0; i < 8; i++) {
      pthread_join(threads[i], NULL);
    }
  }
  return arg;
}

static void *allocate(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    void *blocks[64];
    for (int i = 0; i < 64; i++) {
      blocks[i] = malloc((size_t)i * 37 + 1);
    }
    for (int i = 0; i < 64; i++) {
      free(blocks[i]);
    }
  }
  return arg;
}

static void *load_and_unload(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    void *library = dlopen("libm.so.6", RTLD_NOW);
    if (library != NULL) {
      dlclose(library);
    }
  }
  return arg;
}

/* Timers of the process in /proc/self/timers, one "ID:" line each. */
static int timers(void) {
  char text[65536];
  int count = 0;
  int fd = open("/proc/self/timers", O_RDONLY);
  CHECK(fd >= 0, "no /proc/self/timers: %s", strerror(errno));
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  text[length > 0 ? length : 0] = '\0';
  for (const char *at = text; (at = strstr(at, "ID:")) != NULL; at++) {
    count++;
  }
  return count;
}

TEST(threads_come_and_go_load_and_allocate_under_many_profiles) {
  pthread_t threads[4];
  hp_rate(4096);
  pthread_create(&threads[0], NULL, make_threads, NULL);
  pthread_create(&threads[1], NULL, make_threads, NULL);
  pthread_create(&threads[2], NULL, allocate, NULL);
  pthread_create(&threads[3], NULL, load_and_unload, NULL);
  int fd = new_file();
  for (int i = 0; i < 15; i++) {
    CHECK_EQ(start_profile(fd), 0);
    burn(30);
    CHECK_EQ(hp_profile("heap", fd, 0), 0);
    CHECK_EQ(stop_profile(), 0);
    CHECK_EQ(timers(), 0);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
}

/* A thread that waits uses no processor time, so that no signal comes to interrupt it. */
static void *sleep_once(void *arg) {
  struct timespec time = {0, 400000000};
  *(int *)arg = nanosleep(&time, NULL);
  return NULL;
}

TEST(a_thread_that_sleeps_is_not_woken) {
  pthread_t thread;
  int result = -1;
  CHECK_EQ(start_profile(new_file()), 0);
  pthread_create(&thread, NULL, sleep_once, &result);
  burn(300);
  pthread_join(thread, NULL);
  CHECK_EQ(stop_profile(), 0);
  CHECK_EQ(result, 0);
}

static int64_t spent; /* atomic; nanoseconds of processor time */

static void *burn_briefly(void *arg) {
  while (cpu_nanos() < 400000) {
  }
  __atomic_fetch_add(&spent, cpu_nanos(), __ATOMIC_RELAXED);
  return arg;
}

/* From the comment of the profile. */
static int64_t samples_in(int fd) {
  char command[128];
  char text[256] = "";
  long long count = -1;
  snprintf(command, sizeof command, "zcat /proc/%d/fd/%d | grep -ao 'halloc: samples=[0-9]*'", (int)getpid(),
           fd);
  FILE *pipe = popen(command, "r");
  CHECK(pipe != NULL && fgets(text, sizeof text, pipe) != NULL, "no comment in the profile");
  pclose(pipe);
  CHECK(sscanf(text, "halloc: samples=%lld", &count) == 1, "%s", text);
  return count;
}

/* Threads that use a twentieth of a period each, less than the kernel's tick: they have a sample with that
 * probability, so the number of samples is binomial, with less variance than Poisson. */
TEST(short_threads_count_for_what_they_use) {
  enum { COUNT = 4000, AT_ONCE = 4 };
  int fd = new_file();
  CHECK_EQ(start_profile(fd), 0);
  int64_t own = cpu_nanos();
  for (int i = 0; i < COUNT / AT_ONCE; i++) {
    pthread_t threads[AT_ONCE];
    for (int k = 0; k < AT_ONCE; k++) {
      CHECK_EQ(pthread_create(&threads[k], NULL, burn_briefly, NULL), 0);
    }
    for (int k = 0; k < AT_ONCE; k++) {
      pthread_join(threads[k], NULL);
    }
  }
  own = cpu_nanos() - own;
  CHECK_EQ(stop_profile(), 0);
  double expected = (double)(spent + own) / 1e7;
  int64_t found = samples_in(fd);
  double sigma = sqrt(expected);
  test_note("%lld samples for %.1f periods: %+.1f sigma", (long long)found, expected,
            ((double)found - expected) / sigma);
  CHECK(fabs((double)found - expected) < 4 * sigma + 1, "%lld samples instead of %.1f", (long long)found,
        expected);
}
