/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a thread that takes the program's signals, keeps it from ending, turns up in
 * its statistics, or is there although it was forbidden; a child that never gives memory back because its
 * parent's thread stayed with the parent.
 *
 * The runner forks for each test, and a forked child has no such thread, so what happens at start-up is
 * looked at in this program executed anew: a constructor plays the part that is named in TEST_PART, before
 * main.
 */
#include <dirent.h> /* getdents64 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/api/limit.h"

#define MIB ((size_t)1 << 20)
#define BLOCKS 80 /* 64 MiB are worth a thread */
#define BLOCK_SIZE MIB
#define PATIENCE_MS 10000
#define PART "TEST_PART"
#define SIGNAL_BIT(n) ((uint64_t)1 << ((n)-1))
/* Those that nobody can block: two by the kernel, two that libc keeps for itself. */
#define UNBLOCKABLE (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(32) | SIGNAL_BIT(33))

/* ---- The threads of this process, as the kernel has them. Nothing here allocates. ---- */

static bool read_task(const char *task, const char *file, char *text, size_t room) {
  char path[300];
  snprintf(path, sizeof path, "/proc/self/task/%s/%s", task, file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = fd >= 0 ? read(fd, text, room - 1) : -1;
  close(fd);
  text[size > 0 ? size : 0] = '\0';
  return size > 0;
}

struct tasks {
  unsigned count;
  unsigned named;   /* "halloc" */
  uint64_t blocked; /* signals of that one */
};

struct entry { /* linux_dirent64 */
  uint64_t inode;
  int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

static void add_task(struct tasks *tasks, const char *name) {
  char text[4096];
  if (name[0] == '.' || !read_task(name, "comm", text, sizeof text)) {
    return;
  }
  tasks->count++;
  if (strcmp(text, "halloc\n") == 0 && read_task(name, "status", text, sizeof text)) {
    const char *blocked = strstr(text, "\nSigBlk:");
    CHECK(blocked != NULL, "no SigBlk in the status of a thread");
    tasks->named++;
    tasks->blocked = strtoull(blocked + 8, NULL, 16);
  }
}

static struct tasks tasks(void) {
  struct tasks found = {0};
  char room[4096] __attribute__((aligned(8)));
  ssize_t size;
  int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(fd >= 0, "no /proc");
  while ((size = getdents64(fd, room, sizeof room)) > 0) {
    for (ssize_t at = 0; at < size; at += ((struct entry *)(void *)(room + at))->size) {
      add_task(&found, ((struct entry *)(void *)(room + at))->name);
    }
  }
  close(fd);
  return found;
}

/* The thread is created by a thread of ours, and names itself a moment later. */
static struct tasks wait_for_name(void) {
  struct tasks now = tasks();
  for (int ms = 0; now.named == 0 && ms < PATIENCE_MS; ms++) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    now = tasks();
  }
  return now;
}

static void check_runs(void) {
  CHECK_EQ(tasks().count, 2u);
  struct tasks now = wait_for_name();
  CHECK_EQ(now.named, 1u);
  CHECK_EQ(now.blocked | UNBLOCKABLE, UINT64_MAX);
}

static void check_does_not_run(void) {
  struct tasks now = tasks();
  CHECK(now.count == 1 && now.named == 0, "%u threads, %u of halloc", now.count, now.named);
}

/* ---- Idle memory ---- */

static char *blocks[BLOCKS];

static void allocate(void) {
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = malloc(BLOCK_SIZE);
    CHECK(blocks[i] != NULL, "no memory");
    memset(blocks[i], i, BLOCK_SIZE);
  }
}

static void release(void) {
  for (int i = 0; i < BLOCKS; i++) {
    free(blocks[i]);
  }
}

static void make_idle(void) {
  allocate();
  release();
}

/* ---- Parts ---- */

static void run_one(void) {
  check_runs();
  make_idle();
  CHECK_EQ(tasks().count, 2u); /* not a second one */
}

static void run_none(void) {
  check_does_not_run();
  make_idle();
  check_does_not_run();
}

static void start_when_idle(void) {
  check_does_not_run();
  make_idle();
  check_runs();
}

static void fork_with_thread(void) {
  check_runs();
  int child = fork();
  if (child == 0) {
    check_does_not_run();
    make_idle();
    check_runs();
    _exit(EXIT_SUCCESS);
  }
  CHECK_CHILD(child);
}

static void fork_without_thread(void) {
  int child = fork();
  if (child == 0) {
    run_none();
    _exit(EXIT_SUCCESS);
  }
  CHECK_CHILD(child);
}

/* Memory lies idle and is being given back as each of these happens. */
static void exit_7(void) {
  make_idle();
  exit(7);
}

static void exit_8_at_once(void) {
  make_idle();
  _exit(8);
}

static void exit_9_quickly(void) {
  make_idle();
  quick_exit(9);
}

static void execute_other(void) {
  make_idle();
  unsetenv("LD_PRELOAD");
  execl("/bin/sh", "sh", "-c", "exit 11", (char *)NULL);
}

static void make_idle_at_exit(void) {
  make_idle();
}

static void exit_12_in_handler(void) {
  atexit(make_idle_at_exit);
  exit(12);
}

static unsigned told; /* how often */

static void count_told(const struct hp_pressure *pressure, void *arg) {
  (void)pressure, (void)arg;
  told++;
}

/* libc may hold a lock while it allocates, such as that of the time zone; a function that wants it would wait for ever. */
static void tell_not_in_libc(void) {
  static char text[MIB];
  const struct timespec pause = {0,
                                 2000000}; /* after an attempt in vain to make room there is none for 10 ms */
  int64_t limit = 1;
  CHECK(hp_tell(count_told, NULL) && hp_limit(&limit), "there is no limit in this process");
  memset(text, 'x', sizeof text - 1);
  for (int i = 0; i < 30; i++) {
    CHECK(strdup(text) != NULL, "no memory"); /* and no free, which may tell */
    CHECK_EQ(told, 0u);
    nanosleep(&pause, NULL);
  }
  for (int i = 0; i < 100; i++) {
    free(malloc(MIB));
  }
  CHECK(told > 0, "the function was never called");
}

static const struct part {
  const char *name;
  void (*play)(void);
} parts[] = {
    {"run_one", run_one},
    {"run_none", run_none},
    {"start_when_idle", start_when_idle},
    {"fork_with_thread", fork_with_thread},
    {"fork_without_thread", fork_without_thread},
    {"tell_not_in_libc", tell_not_in_libc},
    {"exit_7", exit_7},
    {"exit_8_at_once", exit_8_at_once},
    {"exit_9_quickly", exit_9_quickly},
    {"execute_other", execute_other},
    {"exit_12_in_handler", exit_12_in_handler},
};

__attribute__((constructor)) static void play_part(void) {
  const char *name = getenv(PART);
  for (size_t i = 0; name != NULL && i < sizeof parts / sizeof parts[0]; i++) {
    if (strcmp(parts[i].name, name) == 0) {
      unsetenv(PART);
      parts[i].play();
      _exit(EXIT_SUCCESS);
    }
  }
}

/* Executes this program as that part; returns how it ended. background: HALLOC_BACKGROUND, or NULL. */
static int play(const char *name, const char *background) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    setenv(PART, name, 1);
    background != NULL ? setenv("HALLOC_BACKGROUND", background, 1) : unsetenv("HALLOC_BACKGROUND");
    execl("/proc/self/exe", "background", (char *)NULL);
    _exit(127);
  }
  CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
  return status;
}

static void check_part(const char *name, const char *background) {
  int status = play(name, background);
  CHECK(status == 0, "part %s with HALLOC_BACKGROUND=%s ended with %#x", name,
        background != NULL ? background : "auto", (unsigned)status);
}

TEST(it_runs_from_the_start_if_it_is_asked_for) {
  check_part("run_one", "1");
}

TEST(it_never_runs_if_it_is_forbidden) {
  check_part("run_none", "0");
}

TEST(it_starts_when_much_memory_lies_idle) {
  check_part("start_when_idle", NULL);
}

TEST(a_child_gets_one_of_its_own) {
  check_part("fork_with_thread", "1");
}

TEST(a_child_of_a_process_that_forbids_it_gets_none) {
  check_part("fork_without_thread", "0");
}

TEST(without_it_nobody_is_told_of_pressure_in_a_malloc_of_libc) {
  check_part("tell_not_in_libc", "0");
}

/* Again and again: the thread is at another place each time. */
TEST(it_does_not_hinder_the_end_of_the_process) {
  static const struct {
    const char *name;
    int status;
  } ends[] = {{"exit_7", 7},
              {"exit_8_at_once", 8},
              {"exit_9_quickly", 9},
              {"execute_other", 11},
              {"exit_12_in_handler", 12}};
  for (int round = 0; round < 4; round++) {
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
      int status = play(ends[i].name, round % 2 == 0 ? "1" : NULL);
      CHECK(WIFEXITED(status) && WEXITSTATUS(status) == ends[i].status, "%s ended with %#x", ends[i].name,
            (unsigned)status);
    }
  }
}

/* ---- In the test's own process, which is a forked child ---- */

TEST(it_starts_with_a_limit) {
  int64_t limit = (int64_t)1 << 40;
  check_does_not_run();
  CHECK(hp_limit(&limit), "hp_set_memory_limit is not in this process");
  check_runs();
}

static void check_blocks_freed(const struct hp_memstats *before) {
  struct hp_memstats after = hp_stats();
  CHECK_EQ(after.Mallocs, before->Mallocs);
  CHECK_EQ(after.Frees, before->Frees + BLOCKS);
  CHECK_EQ(after.HeapAlloc, before->HeapAlloc - BLOCKS * BLOCK_SIZE);
  CHECK_EQ(after.Threads, before->Threads);
  for (int i = 0; i < HP_SIZE_CLASSES; i++) {
    CHECK_EQ(after.BySize[i].Mallocs, before->BySize[i].Mallocs);
    CHECK_EQ(after.BySize[i].Frees, before->BySize[i].Frees);
  }
}

TEST(statistics_do_not_show_it) {
  allocate();
  struct hp_memstats before = hp_stats();
  release();
  check_blocks_freed(&before);
  check_runs();
  check_blocks_freed(&before);
}

TEST(statistics_of_a_child_do_not_show_its_own) {
  make_idle();
  check_runs();
  int child = fork();
  if (child == 0) {
    allocate();
    struct hp_memstats before = hp_stats();
    release();
    check_runs();
    check_blocks_freed(&before);
    _exit(EXIT_SUCCESS);
  }
  CHECK_CHILD(child);
}

TEST(profiles_do_not_show_it) {
  hp_rate(1);
  allocate();
  profile_sums(); /* what is loaded for the first profile */
  struct profile_sums before = profile_sums();
  release();
  check_runs();
  struct profile_sums after = profile_sums();
  CHECK_EQ(after.sampled[ALLOC_OBJECTS], before.sampled[ALLOC_OBJECTS]);
  CHECK_EQ(after.sampled[INUSE_OBJECTS], before.sampled[INUSE_OBJECTS] - BLOCKS);
  CHECK_EQ(after.values[INUSE_SPACE], before.values[INUSE_SPACE] - (int64_t)(BLOCKS * BLOCK_SIZE));
}

/* ---- Signals ---- */

static volatile sig_atomic_t handled, handled_elsewhere;
static pid_t main_thread;

static void handle(int number) {
  handled++;
  handled_elsewhere += gettid() != main_thread;
  (void)number;
}

TEST(signals_come_to_the_program) {
  sigset_t before, after;
  main_thread = gettid();
  signal(SIGUSR1, handle);
  sigemptyset(&before);
  sigaddset(&before, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  make_idle();
  check_runs();
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  for (int i = 1; i < NSIG; i++) {
    CHECK(sigismember(&before, i) == sigismember(&after, i), "the starting thread's mask has changed for %d",
          i);
  }
  kill(getpid(), SIGUSR2); /* would end the process if any thread took it */
  for (int i = 1; i <= 1000; i++) {
    kill(getpid(), SIGUSR1);
    CHECK_EQ(handled, i);
  }
  CHECK_EQ(handled_elsewhere, 0);
}

/* ---- Ends and children ---- */

static void *end_later(void *arg) {
  make_idle();
  return arg;
}

/* POSIX: the process ends with its last thread, and halloc's is not one of the program's. */
TEST_WITHIN(10, the_process_ends_with_the_last_thread_of_the_program) {
  int child = fork();
  if (child == 0) {
    pthread_t thread;
    make_idle();
    check_runs();
    pthread_create(&thread, NULL, end_later, NULL);
    pthread_exit(NULL);
  }
  CHECK_CHILD(child);
}

static int is_over; /* atomic */

static void *give_back_again_and_again(void *arg) {
  while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
    CHECK(hp_free_os(), "hp_free_os_memory is not in this process");
  }
  return arg;
}

/* What is being given back at that moment is not lost to them. */
static void use_memory_of_the_parent(void) {
  CHECK(hp_free_os(), "hp_free_os_memory is not in this process");
  struct hp_memstats stats = hp_stats();
  CHECK(stats.HeapIdle - stats.HeapReleased < MIB, "%lu bytes cannot be given back",
        (unsigned long)(stats.HeapIdle - stats.HeapReleased));
  make_idle();
  CHECK_EQ(hp_stats().HeapSys, stats.HeapSys);
  _exit(EXIT_SUCCESS);
}

TEST(children_forked_while_memory_is_given_back_work) {
  pthread_t thread;
  make_idle();
  CHECK_EQ(pthread_create(&thread, NULL, give_back_again_and_again, NULL), 0);
  for (int round = 0; round < 10; round++) {
    make_idle();
    int child = fork();
    if (child == 0) {
      use_memory_of_the_parent();
    }
    CHECK_CHILD(child);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  pthread_join(thread, NULL);
}

/* It has the parent's memory, and its threads would go on in there. */
TEST(a_vforked_child_starts_none) {
  allocate();
  pid_t child = vfork();
  if (child == 0) {
    release();
    _exit(tasks().count == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  CHECK_CHILD(child);
  check_does_not_run();
  free(malloc(MIB));
  check_runs();
}

/* ---- No room for a thread ---- */

static rlim_t address_space(void) {
  char text[128] = "";
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  CHECK(read(fd, text, sizeof text - 1) > 0, "no /proc");
  close(fd);
  return strtoul(text, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE);
}

TEST(without_room_for_it_the_program_goes_on) {
  struct rlimit limit;
  allocate();
  getrlimit(RLIMIT_AS, &limit);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = address_space() + 64 * 1024; /* less than its stack */
  CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  errno = ENOTTY;
  release();
  CHECK_EQ(errno, ENOTTY);
  check_does_not_run();
  limit.rlim_cur = before;
  setrlimit(RLIMIT_AS, &limit);
  struct hp_memstats stats = hp_stats();
  make_idle();
  check_does_not_run(); /* it was refused once */
  CHECK_EQ(hp_stats().HeapObjects, stats.HeapObjects);
}
