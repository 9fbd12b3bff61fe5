/* SPDX-License-Identifier: MIT */
/*
 * What did one run of a program cost as a whole?
 *
 *   measure FILE [NAME=VALUE]... -- PROGRAM [ARGUMENT]...
 *
 * Runs the program with the settings added to its environment, and writes one line to FILE: wall-clock ns,
 * CPU ns (user and system, with the children it waited for) and peak resident bytes, the last two as the
 * kernel counted them (wait4). The exit status is the program's, or 128 and the number of the signal that
 * ended it.
 *
 * Only the child gets the settings, so measuring stays the same small process under every allocator; the
 * kernel counts this process's own pages before exec as the child's, and they are too few to matter.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_US UINT64_C(1000)
#define STATUS_USAGE 2
#define STATUS_CANNOT_RUN 127
#define STATUS_SIGNAL_BASE 128

static uint64_t timeval_ns(struct timeval time) {
  return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_usec * NS_PER_US;
}

static _Noreturn void run_child(char **settings, char **command) {
  /* Whoever stops a run that hangs stops this process, and the program must not outlive it. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (char **setting = settings; setting + 1 < command; setting++)
    putenv(*setting);
  execvp(command[0], command);
  fprintf(stderr, "measure: cannot run %s: %s\n", command[0], strerror(errno));
  _exit(STATUS_CANNOT_RUN);
}

static void write_usage(const char *path, uint64_t wall_ns, const struct rusage *usage) {
  uint64_t cpu_ns = timeval_ns(usage->ru_utime) + timeval_ns(usage->ru_stime);
  uint64_t peak_bytes = (uint64_t)usage->ru_maxrss * BENCH_KIB;
  FILE *file = fopen(path, "we");
  if (file == NULL)
    bench_die("cannot write %s: %s", path, strerror(errno));
  fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", wall_ns, cpu_ns, peak_bytes);
  if (fclose(file) != 0)
    bench_die("cannot write %s: %s", path, strerror(errno));
}

/* The word after `--`, or NULL. */
static char **find_command(char **words) {
  for (char **word = words; *word != NULL; word++) {
    if (strcmp(*word, "--") == 0)
      return word[1] != NULL ? word + 1 : NULL;
    if (strchr(*word, '=') == NULL)
      return NULL;
  }
  return NULL;
}

int main(int argc, char **argv) {
  char **command = argc > 2 ? find_command(argv + 2) : NULL;
  if (command == NULL) {
    fprintf(stderr, "usage: measure FILE [NAME=VALUE]... -- PROGRAM [ARGUMENT]...\n");
    return STATUS_USAGE;
  }

  uint64_t start_ns = bench_now_ns();
  pid_t child = fork();
  if (child < 0)
    bench_die("cannot fork: %s", strerror(errno));
  if (child == 0)
    run_child(argv + 2, command);

  int status;
  struct rusage usage;
  while (wait4(child, &status, 0, &usage) < 0) {
    if (errno != EINTR)
      bench_die("cannot wait for %s: %s", command[0], strerror(errno));
  }
  write_usage(argv[1], bench_now_ns() - start_ns, &usage);
  return WIFSIGNALED(status) ? STATUS_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}
