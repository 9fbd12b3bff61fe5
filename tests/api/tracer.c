/* SPDX-License-Identifier: MIT */
/*
 * A probe is a nop of one byte, so a breakpoint that replaces it needs no single step: execution goes on
 * behind it.
 */
#include "tests/api/tracer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

#define BREAKPOINT 0xcc
#define NOP 0x90
#define CANNOT_BE_TRACED 77

struct child {
  pid_t pid;
  int memory; /* /proc/PID/mem */
};

static void read_memory(const struct child *child, uintptr_t address, void *to, size_t size) {
  CHECK(pread(child->memory, to, size, (off_t)address) == (ssize_t)size, "cannot read the child's %p: %s",
        (void *)address, strerror(errno));
}

static void write_memory(const struct child *child, uintptr_t address, const void *from, size_t size) {
  CHECK(pwrite(child->memory, from, size, (off_t)address) == (ssize_t)size, "cannot write the child's %p: %s",
        (void *)address, strerror(errno));
}

static void prepare(const struct child *child, const struct tracer_probe *probe) {
  unsigned char code;
  read_memory(child, probe->note.pc, &code, 1);
  CHECK_EQ(code, (unsigned char)NOP);
  code = BREAKPOINT;
  write_memory(child, probe->note.pc, &code, 1);
  CHECK(probe->note.semaphore != 0, "no semaphore");
  uint16_t semaphore;
  read_memory(child, probe->note.semaphore, &semaphore, sizeof semaphore);
  CHECK_EQ(semaphore, (uint16_t)0);
  if (probe->is_attached) {
    semaphore++;
    write_memory(child, probe->note.semaphore, &semaphore, sizeof semaphore);
  }
}

/* "8@%rdi": a size and a register. The other forms of notes are not written by halloc. */
static uint64_t read_argument(const char *text, const struct user_regs_struct *registers) {
  static const struct {
    const char *name;
    size_t offset;
  } names[] = {
      {"%rdi", offsetof(struct user_regs_struct, rdi)}, {"%rsi", offsetof(struct user_regs_struct, rsi)},
      {"%rdx", offsetof(struct user_regs_struct, rdx)}, {"%rcx", offsetof(struct user_regs_struct, rcx)},
      {"%rax", offsetof(struct user_regs_struct, rax)}, {"%rbx", offsetof(struct user_regs_struct, rbx)},
  };
  CHECK(strncmp(text, "8@", 2) == 0, "an argument of another size: %s", text);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(text + 2, names[i].name) == 0) {
      uint64_t value;
      memcpy(&value, (const char *)registers + names[i].offset, sizeof value);
      return value;
    }
  }
  test_fail(__FILE__, __LINE__, "an argument in another place: %s", text);
}

static void report(const struct tracer_probe *probes, unsigned index,
                   const struct user_regs_struct *registers, tracer_hit_fn *hit, void *arg) {
  uint64_t values[TRACER_ARGUMENTS_MAX] = {0};
  char text[sizeof probes->note.arguments];
  char *rest = strcpy(text, probes[index].note.arguments);
  char *word;
  for (int i = 0; (word = strsep(&rest, " ")) != NULL; i++) {
    CHECK(i < TRACER_ARGUMENTS_MAX, "more arguments: %s", probes[index].note.arguments);
    values[i] = read_argument(word, registers);
  }
  hit(index, values, arg);
}

/* True if the thread stopped at one of the breakpoints. */
static bool take_hit(const struct tracer_probe *probes, unsigned count, pid_t thread, tracer_hit_fn *hit,
                     void *arg) {
  struct user_regs_struct registers;
  CHECK(ptrace(PTRACE_GETREGS, thread, NULL, &registers) == 0, "registers: %s", strerror(errno));
  for (unsigned i = 0; i < count; i++) {
    if (registers.rip == probes[i].note.pc + 1) {
      report(probes, i, &registers, hit, arg);
      return true;
    }
  }
  return false;
}

static struct child start(void (*body)(void)) {
  struct child child = {.pid = fork()};
  CHECK(child.pid >= 0, "fork: %s", strerror(errno));
  if (child.pid == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
      _exit(CANNOT_BE_TRACED);
    }
    raise(SIGSTOP);
    body();
    _exit(EXIT_SUCCESS);
  }
  int status;
  CHECK(waitpid(child.pid, &status, 0) == child.pid, "waitpid: %s", strerror(errno));
  if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_BE_TRACED) {
    test_skip("ptrace is not allowed here");
  }
  CHECK(WIFSTOPPED(status), "the child did not stop: status %#x", (unsigned)status);
  ptrace(PTRACE_SETOPTIONS, child.pid, NULL, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", (int)child.pid);
  child.memory = open(path, O_RDWR | O_CLOEXEC);
  CHECK(child.memory >= 0, "%s: %s", path, strerror(errno));
  return child;
}

/* What the thread is to be given when it goes on after this stop: a signal that was meant for it, or 0. */
static int pass_on(const struct tracer_probe *probes, unsigned count, pid_t thread, int status,
                   tracer_hit_fn *hit, void *arg) {
  int signal = WSTOPSIG(status);
  if (status >> 16 != 0 || signal == SIGSTOP) {
    return 0; /* a thread was created, or begins */
  }
  return signal == SIGTRAP && take_hit(probes, count, thread, hit, arg) ? 0 : signal;
}

void tracer_run(const struct tracer_probe *probes, unsigned count, void (*body)(void), tracer_hit_fn *hit,
                void *arg) {
  struct child child = start(body);
  for (unsigned i = 0; i < count; i++) {
    prepare(&child, &probes[i]);
  }
  ptrace(PTRACE_CONT, child.pid, NULL, NULL);
  int status = 0;
  pid_t thread;
  while ((thread = waitpid(-1, &status, __WALL)) > 0) {
    if (WIFSTOPPED(status)) {
      int signal = pass_on(probes, count, thread, status, hit, arg);
      ptrace(PTRACE_CONT, thread, NULL, (void *)(intptr_t)signal);
    } else if (thread == child.pid) {
      break;
    }
  }
  close(child.memory);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS, "the child ended with status %#x",
        (unsigned)status);
}
