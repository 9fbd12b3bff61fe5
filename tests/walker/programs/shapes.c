/* SPDX-License-Identifier: MIT */
/*
 * One function per way in which compilers lay out frames; each allocates at its innermost point.
 * Deterministic, so that the stacks of two runs can be compared one by one. Names that begin with "bare_"
 * have no unwind tables.
 */
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define BARRIER __asm__ volatile("" ::: "memory")
#define USED(x) __asm__ volatile("" : : "r"(x) : "memory")

void throwing(void);
void *lazily_bound(size_t size);
void bare_with_frame(void);
void bare_without_frame(void);
void asm_with_frame(void (*f)(void));
void asm_without_frame(void (*f)(void));
void faults_at_its_start(void);

void *kept[4096];
static int kept_count;

NOINLINE void leaf(void) {
  kept[kept_count++ & 4095] = malloc(100);
  BARRIER;
}

NOINLINE static void with_alloca(int n) {
  char *bytes = alloca((size_t)n);
  USED(bytes);
  leaf();
  USED(bytes);
}

NOINLINE static void with_array(int n) {
  char bytes[n * 3 + 1];
  USED(bytes);
  leaf();
  USED(bytes);
}

NOINLINE static void aligned(void) {
  char bytes[64] __attribute__((aligned(64)));
  USED(bytes);
  leaf();
  USED(bytes);
}

NOINLINE static void aligned_with_alloca(int n) {
  char bytes[64] __attribute__((aligned(64)));
  char *more = alloca((size_t)n);
  USED(bytes);
  USED(more);
  leaf();
  USED(more);
}

__attribute__((force_align_arg_pointer, noinline)) static void forced(int a, int b, int c, int d, int e,
                                                                      int f, int g, int h) {
  char bytes[96] __attribute__((aligned(32)));
  USED(bytes);
  leaf();
  BARRIER;
  USED(bytes);
  USED(g + h);
}

/* Callers whose own frame is found from the stack pointer: a wrong one after the callee shows here. */
NOINLINE static void above(int which) {
  char bytes[72];
  USED(bytes);
  switch (which) {
  case 0:
    with_alloca(64);
    break;
  case 1:
    with_array(40);
    break;
  case 2:
    aligned();
    break;
  case 3:
    aligned_with_alloca(48);
    break;
  default:
    forced(1, 2, 3, 4, 5, 6, 7, 8);
  }
  USED(bytes);
}

#if defined(__clang__)
#define TAIL __attribute__((musttail)) return
#else
#define TAIL return
#endif
NOINLINE static int tail_target(int n) {
  leaf();
  return n + 1;
}
NOINLINE static int tail_second(int n) {
  USED(n);
  TAIL tail_target(n);
}
NOINLINE static int tail_first(int n) {
  USED(n);
  TAIL tail_second(n);
}

NOINLINE static int recursive(int n) {
  int result = n == 0 ? (leaf(), 0) : recursive(n - 1) + 1;
  BARRIER;
  return result;
}

static int compare(const void *a, const void *b) {
  static int calls;
  if (calls++ % 5 == 0) {
    leaf();
  }
  return *(const int *)a - *(const int *)b;
}

static jmp_buf out;
__attribute__((noreturn, noinline)) static void never_returns(void) {
  leaf();
  longjmp(out, 1);
}
/* The call is the last instruction: its return address belongs to the next function. */
NOINLINE static void ends_in_noreturn(void) {
  never_returns();
}

static void on_signal(int number) {
  leaf();
}
/* Past the two bytes of ud2. */
static void on_fault(int number, siginfo_t *info, void *context) {
  leaf();
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static ucontext_t main_context, other_context;
static void coroutine(void) {
  leaf();
  swapcontext(&other_context, &main_context);
  above(1);
  swapcontext(&other_context, &main_context);
}

NOINLINE static void coroutines(void) {
  size_t size = 256 * 1024;
  getcontext(&other_context);
  other_context.uc_stack.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  other_context.uc_stack.ss_size = size;
  other_context.uc_link = &main_context;
  makecontext(&other_context, coroutine, 0);
  for (int i = 0; i < 2; i++) {
    swapcontext(&main_context, &other_context);
    above(0);
  }
  munmap(other_context.uc_stack.ss_sp, size);
}

NOINLINE static void in_vfork_child(void) {
  pid_t pid = vfork();
  if (pid == 0) {
    leaf();
    _exit(0);
  }
  waitpid(pid, NULL, 0);
}

static void *touch_tls(void *arg) {
  ((void (*)(void))arg)();
  above(2);
  return NULL;
}

NOINLINE static void signals(void) {
  static char alternate[65536];
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  sigaltstack(&stack, NULL);
  for (int flags = 0; flags <= SA_ONSTACK; flags += SA_ONSTACK) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = flags | SA_SIGINFO};
    sigaction(SIGILL, &fault, NULL);
    faults_at_its_start();
    BARRIER;
  }
}

int main(int argc, char **argv) {
  for (int i = 0; i < 5; i++) {
    above(i);
  }
  USED(tail_first(argc));
  USED(recursive(40));
  int values[] = {5, 3, 9, 1, 7, 2, 8};
  qsort(values, 7, sizeof values[0], compare);
  if (setjmp(out) == 0) {
    ends_in_noreturn();
  }
  signals();
  coroutines();
  in_vfork_child();
  throwing();
  kept[0] = lazily_bound(200);
  kept[1] = lazily_bound(200);
  bare_with_frame();
  bare_without_frame();
  asm_with_frame(leaf);
  asm_without_frame(leaf);
  void *plugin = dlopen(argv[1], RTLD_NOW);
  pthread_t thread;
  if (plugin == NULL || pthread_create(&thread, NULL, touch_tls, dlsym(plugin, "touch")) != 0) {
    return 2;
  }
  pthread_join(thread, NULL);
  return 0;
}
