/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a thread that is missing or shown in the wrong place, calls that fail with
 * EINTR because somebody looked, a signal that the program gets though it was not meant for it, a profile
 * that waits for ever for a thread that cannot answer, a deadlock of two that look at once.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/hp.h"

#define NOINLINE __attribute__((noinline))
#define TEXT_MAX ((size_t)4 << 20)

static char *profile_text(const char *name, int debug) {
  int fd = memfd_create("profile", MFD_CLOEXEC);
  CHECK(fd >= 0, "memfd_create: %s", strerror(errno));
  CHECK_EQ(hp_profile(name, fd, debug), 0);
  char *text = mmap(NULL, TEXT_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(text != MAP_FAILED, "no memory for the test");
  ssize_t length = pread(fd, text, TEXT_MAX - 1, 0);
  CHECK(length > 0 && (size_t)length < TEXT_MAX - 1, "the profile has %zd bytes", length);
  close(fd);
  return text;
}

static void drop_text(char *text) {
  munmap(text, TEXT_MAX);
}

/* Sum of the counts "N @ ..." of the paragraphs that mention a word. */
static int count_of(const char *text, const char *word) {
  int sum = 0;
  while (text != NULL && *text != '\0') {
    const char *end = strstr(text, "\n\n");
    size_t length = end != NULL ? (size_t)(end - text) : strlen(text);
    const char *line = text;
    if (strncmp(text, "goroutine profile:", 18) == 0 || strncmp(text, "threadcreate profile:", 21) == 0) {
      line = strchr(text, '\n') + 1;
    }
    if (memmem(text, length, word, strlen(word)) != NULL) {
      sum += atoi(line);
    }
    text = end != NULL ? end + 2 : NULL;
  }
  return sum;
}

/* Threads that wait, each in a function of its own, for a word that is said at the end. */
static int ready;   /* atomic; threads about to wait */
static int is_over; /* atomic */
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];
static int interrupted; /* atomic; calls that failed though nobody had reason to */

static void get_ready(void) {
  __atomic_fetch_add(&ready, 1, __ATOMIC_ACQ_REL);
}

NOINLINE static void *waits_in_semaphore(void *arg) {
  get_ready();
  if (sem_wait(&semaphore) != 0) {
    __atomic_fetch_add(&interrupted, 1, __ATOMIC_RELAXED);
  }
  __asm__ volatile("");
  return arg;
}

NOINLINE static void *waits_in_condition(void *arg) {
  pthread_mutex_lock(&mutex);
  get_ready();
  while (!is_over) {
    pthread_cond_wait(&condition, &mutex);
  }
  pthread_mutex_unlock(&mutex);
  return arg;
}

NOINLINE static void *waits_in_mutex(void *arg) {
  get_ready();
  pthread_mutex_lock(&held);
  pthread_mutex_unlock(&held);
  return arg;
}

NOINLINE static void *waits_in_read(void *arg) {
  char byte;
  get_ready();
  if (read(ends[0], &byte, 1) != 1) {
    __atomic_fetch_add(&interrupted, 1, __ATOMIC_RELAXED);
  }
  __asm__ volatile("");
  return arg;
}

NOINLINE static void *spins(void *arg) {
  get_ready();
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
  }
  return arg;
}

NOINLINE static void *blocks_all_signals(void *arg) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  return waits_in_semaphore(arg);
}

static void *(*const kinds[])(void *) = {waits_in_semaphore, waits_in_condition, waits_in_mutex,
                                         waits_in_read, spins};
static const char *const kind_names[] = {"waits_in_semaphore", "waits_in_condition", "waits_in_mutex",
                                         "waits_in_read", "spins"};
#define KINDS 5
#define EACH 4
#define THREADS (KINDS * EACH)
#define STARVED_TRIES 5

static pthread_t threads[THREADS + 1];

static void wait_until_ready(int count) {
  while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < count) {
    sched_yield();
  }
}

/* True once all but those that spin have reached their system call. */
static bool all_wait(int count) {
  char *text = profile_text("threads", 2);
  int found = 0;
  for (const char *at = text; (at = strstr(at, "goroutine ")) != NULL; at++) {
    const char *end = strchr(at, '\n');
    size_t length = end != NULL ? (size_t)(end - at) : 0;
    found += memmem(at, length, " [futex", 7) != NULL || memmem(at, length, " [read", 6) != NULL;
  }
  drop_text(text);
  return found >= count;
}

NOINLINE static void starts_threads(void) {
  CHECK_EQ(pipe(ends), 0);
  sem_init(&semaphore, 0, 0);
  pthread_mutex_lock(&held);
  for (int i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, kinds[i % KINDS], NULL), 0);
  }
  CHECK_EQ(pthread_create(&threads[THREADS], NULL, blocks_all_signals, NULL), 0);
  wait_until_ready(THREADS + 1);
  while (!all_wait((KINDS - 1) * EACH + 1)) {
    sched_yield();
  }
}

static void end_threads(void) {
  pthread_mutex_lock(&mutex);
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  pthread_cond_broadcast(&condition);
  pthread_mutex_unlock(&mutex);
  pthread_mutex_unlock(&held);
  for (int i = 0; i <= EACH; i++) {
    sem_post(&semaphore);
    CHECK_EQ(write(ends[1], "", 1), (ssize_t)1);
  }
  for (int i = 0; i <= THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

TEST(twenty_threads_are_shown_where_they_are) {
  starts_threads();
  char *text = profile_text("threads", 1);
  /* On a busy machine one that spins may not get to run within the second in which it can answer. */
  for (int tries = 1; tries < STARVED_TRIES && count_of(text, "spins") != EACH; tries++) {
    drop_text(text);
    text = profile_text("threads", 1);
  }
  for (int i = 0; i < KINDS; i++) {
    CHECK(count_of(text, kind_names[i]) == EACH, "%d threads in %s: %s", count_of(text, kind_names[i]),
          kind_names[i], text);
  }
  CHECK(count_of(text, "[not reachable]") == 1, "%s", text);
  CHECK_EQ(count_of(text, "twenty_threads_are_shown"), 1);
  char first[64];
  snprintf(first, sizeof first, "goroutine profile: total %d\n", THREADS + 2);
  CHECK(strncmp(text, first, strlen(first)) == 0, "it begins with %.60s", text);
  char *other = profile_text("goroutine", 1);
  CHECK(strncmp(other, first, strlen(first)) == 0, "it begins with %.60s", other);
  drop_text(text);
  drop_text(other);
  end_threads();
}

static hp_labels_t some_labels(const char *value) {
  hp_labels_t (*make)(const char *, const char *, ...);
  *(void **)&make = dlsym(RTLD_DEFAULT, "hp_labels");
  return make("handler", value, NULL);
}

static void *waits_with_name(void *arg) {
  hp_labels_t (*set)(hp_labels_t);
  *(void **)&set = dlsym(RTLD_DEFAULT, "hp_set_labels");
  prctl(PR_SET_NAME, "worker]\"7");
  set(some_labels("login"));
  return waits_in_semaphore(arg);
}

TEST(a_dump_has_names_states_labels_and_creators) {
  pthread_t thread;
  sem_init(&semaphore, 0, 0);
  CHECK_EQ(pthread_create(&thread, NULL, waits_with_name, NULL), 0);
  wait_until_ready(1);
  while (!all_wait(1)) {
    sched_yield();
  }
  char *text = profile_text("threads", 2);
  const char *title = strstr(text, "[futex, \"worker??7\" labels:{\"handler\": \"login\"}]:\n");
  CHECK(title != NULL, "%s", text);
  const char *end = strstr(title, "\n\n");
  size_t length = end != NULL ? (size_t)(end - title) : strlen(title);
  CHECK(memmem(title, length, "\nwaits_in_semaphore(...)\n\t/", 27) != NULL, "%s", title);
  CHECK(memmem(title, length, "\ncreated by a_dump_has_names_states_labels_and_creators\n\t/", 57) != NULL,
        "%s", title);
  CHECK(strstr(text, " [running, \"") != NULL, "no running thread: %s", text);
  drop_text(text);
  text = profile_text("threads", 1);
  CHECK(strstr(text, "# labels: {\"handler\":\"login\"}\n") != NULL, "%s", text);
  drop_text(text);
  sem_post(&semaphore);
  pthread_join(thread, NULL);
}

TEST(calls_that_restart_do_not_notice) {
  starts_threads();
  int fd = open("/dev/null", O_WRONLY);
  for (int i = 0; i < 100; i++) {
    CHECK_EQ(hp_profile("threads", fd, 0), 0);
  }
  end_threads();
  CHECK_EQ(interrupted, 0);
}

/* sigwait would return a signal that is not the program's; pause would return. */
static int strange;  /* atomic */
static pid_t ids[2]; /* atomic */

/* The kernel shows the number of the call that a thread waits in. */
static void wait_until_in(pid_t *id, int call) {
  char path[64], text[256] = "";
  do {
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)__atomic_load_n(id, __ATOMIC_ACQUIRE));
    int fd = open(path, O_RDONLY);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    text[length > 0 ? length : 0] = '\0';
    close(fd);
  } while (atoi(text) != call);
}

static void *awaits_every_signal(void *arg) {
  sigset_t all;
  siginfo_t info;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  __atomic_store_n(&ids[0], gettid(), __ATOMIC_RELEASE);
  int number = sigwaitinfo(&all, &info);
  if (number != SIGUSR2) {
    __atomic_fetch_add(&strange, 1, __ATOMIC_RELAXED);
  }
  return arg;
}

static void on_usr1(int number) {
  (void)number;
  __atomic_fetch_add(&is_over, 1, __ATOMIC_RELEASE);
}

static void *pauses(void *arg) {
  __atomic_store_n(&ids[1], gettid(), __ATOMIC_RELEASE);
  pause();
  if (__atomic_load_n(&is_over, __ATOMIC_ACQUIRE) == 0) {
    __atomic_fetch_add(&strange, 1, __ATOMIC_RELAXED);
  }
  return arg;
}

static int not_reachable(void) {
  char *text = profile_text("threads", 2);
  int count = 0;
  for (const char *at = text; (at = strstr(at, "not reachable: waits for signals")) != NULL; at++) {
    count++;
  }
  drop_text(text);
  return count;
}

TEST(threads_that_wait_for_signals_are_let_alone) {
  pthread_t waiting, pausing;
  signal(SIGUSR1, on_usr1);
  CHECK_EQ(pthread_create(&waiting, NULL, awaits_every_signal, NULL), 0);
  CHECK_EQ(pthread_create(&pausing, NULL, pauses, NULL), 0);
  wait_until_in(&ids[0], SYS_rt_sigtimedwait);
  wait_until_in(&ids[1], SYS_pause);
  for (int i = 0; i < 50; i++) {
    CHECK_EQ(not_reachable(), 2);
  }
  CHECK_EQ(strange, 0);
  pthread_kill(pausing, SIGUSR1);
  pthread_kill(waiting, SIGUSR2);
  pthread_join(pausing, NULL);
  pthread_join(waiting, NULL);
  CHECK_EQ(strange, 0);
}

static volatile int urgent;

static void on_urgent(int number) {
  (void)number;
  urgent++;
}

TEST(the_programs_own_handlers_are_not_touched) {
  struct sigaction now;
  signal(SIGURG, on_urgent);
  signal(SIGRTMAX, on_urgent);
  starts_threads();
  char *text = profile_text("threads", 1);
  for (int i = 0; i < KINDS; i++) {
    CHECK_EQ(count_of(text, kind_names[i]), EACH);
  }
  drop_text(text);
  end_threads();
  CHECK_EQ(urgent, 0);
  CHECK_EQ(interrupted, 0);
  CHECK_EQ(sigaction(SIGURG, NULL, &now), 0);
  CHECK(now.sa_handler == on_urgent, "the handler of SIGURG changed");
  CHECK_EQ(sigaction(SIGRTMAX, NULL, &now), 0);
  CHECK(now.sa_handler == on_urgent, "the handler of the last real-time signal changed");
}

TEST(without_a_free_signal_it_says_so) {
  signal(SIGURG, on_urgent);
  for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
    signal(number, on_urgent);
  }
  CHECK_EQ(pipe(ends), 0);
  sem_init(&semaphore, 0, 0);
  CHECK_EQ(pthread_create(&threads[0], NULL, waits_in_semaphore, NULL), 0);
  wait_until_ready(1);
  char *text = profile_text("threads", 2);
  CHECK(strstr(text, "not reachable: no signal is free") != NULL, "%s", text);
  drop_text(text);
  text = profile_text("threads", 1);
  CHECK_EQ(count_of(text, "[not reachable]"), 1);
  drop_text(text);
  sem_post(&semaphore);
  pthread_join(threads[0], NULL);
  CHECK_EQ(urgent, 0);
}

TEST(no_signal_is_left_behind) {
  struct sigaction now;
  drop_text(profile_text("threads", 1));
  CHECK_EQ(sigaction(SIGURG, NULL, &now), 0);
  CHECK(now.sa_handler == SIG_DFL, "SIGURG is handled still");
  CHECK_EQ(raise(SIGURG), 0);
}

static void *creates_and_waits(void *arg) {
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, waits_in_semaphore, NULL), 0);
  get_ready();
  pthread_join(thread, NULL);
  return arg;
}

TEST(threadcreate_shows_who_created_the_live_threads) {
  sem_init(&semaphore, 0, 0);
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, creates_and_waits, NULL), 0);
  }
  wait_until_ready(6);
  char *text = profile_text("threadcreate", 1);
  CHECK(strncmp(text, "threadcreate profile: total 7\n", 30) == 0, "it begins with %.60s", text);
  CHECK_EQ(count_of(text, "creates_and_waits"), 3);
  CHECK_EQ(count_of(text, "threadcreate_shows_who"), 3);
  CHECK_EQ(count_of(text, "[main thread]"), 1);
  drop_text(text);
  for (int i = 0; i < 3; i++) {
    sem_post(&semaphore);
  }
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  text = profile_text("threadcreate", 1);
  CHECK(strncmp(text, "threadcreate profile: total 1\n", 30) == 0, "it begins with %.60s", text);
  drop_text(text);
}

/* Everything at once. */
static void *short_thread(void *arg) {
  free(malloc(100));
  return arg;
}

static void *make_threads(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    pthread_t some[4];
    for (int i = 0; i < 4; i++) {
      CHECK_EQ(pthread_create(&some[i], NULL, short_thread, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
      pthread_join(some[i], NULL);
    }
  }
  return arg;
}

static void *allocate(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    free(malloc(5000));
    free(malloc(200));
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

static void *look(void *arg) {
  static const char *const names[] = {"threads", "threadcreate", "heap"};
  int fd = open("/dev/null", O_WRONLY);
  for (int i = 0; i < 15; i++) {
    CHECK_EQ(hp_profile(names[i % 3], fd, i % 2), 0);
  }
  close(fd);
  return arg;
}

TEST_WITHIN(120, two_look_while_threads_come_and_go_allocate_load_and_fork) {
  pthread_t busy[4], looking[2];
  hp_rate(4096);
  /* Loads the encoders: a child of a process that is loading libraries cannot. */
  drop_text(profile_text("heap", 1));
  pthread_create(&busy[0], NULL, make_threads, NULL);
  pthread_create(&busy[1], NULL, allocate, NULL);
  pthread_create(&busy[2], NULL, allocate, NULL);
  pthread_create(&busy[3], NULL, load_and_unload, NULL);
  for (int i = 0; i < 2; i++) {
    pthread_create(&looking[i], NULL, look, NULL);
  }
  for (int i = 0; i < 15; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      is_over = 1;
      look(NULL);
      _exit(0);
    }
    CHECK_CHILD(pid);
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(looking[i], NULL);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < 4; i++) {
    pthread_join(busy[i], NULL);
  }
}
