/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers that allocate on a stack of their own, while the program computes and never allocates.
 *
 *   handlers COUNT    ends after that many SIGPROF ticks of a 4 kHz timer, each followed by a SIGUSR2
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define NOINLINE __attribute__((noinline))

void computes_in_asm(volatile int *stop); /* its own frame pointer holds other things */

static volatile int stop;
static int wanted;
static volatile int profs, usrs;

NOINLINE void allocate_in_handler(size_t size) {
  void *block = malloc(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  free(block);
}

void on_prof(int number) {
  allocate_in_handler(1000);
  if (++profs % 2 == 0) {
    raise(SIGUSR2);
  }
  stop = profs >= wanted;
}

void on_usr2(int number) {
  allocate_in_handler(2000);
  usrs++;
}

NOINLINE uint64_t computes(void) {
  uint64_t x = 1;
  while (!stop) {
    for (int i = 0; i < 100; i++) {
      x = x * 6364136223846793005u + 1442695040888963407u;
    }
    __asm__ volatile("" : "+r"(x));
  }
  return x;
}

NOINLINE void caller_of_computes(void) {
  volatile uint64_t result = computes();
  (void)result;
  __asm__ volatile("" ::: "memory");
}

NOINLINE void caller_of_asm(void) {
  stop = 0;
  profs = 0;
  computes_in_asm(&stop);
  __asm__ volatile("" ::: "memory");
}

static void *work(void *arg) {
  static char stacks[2][128 * 1024];
  stack_t alternate = {.ss_sp = stacks[arg != NULL], .ss_size = sizeof stacks[0]};
  sigaltstack(&alternate, NULL);
  caller_of_computes();
  caller_of_asm();
  return NULL;
}

int main(int argc, char **argv) {
  wanted = atoi(argv[1]);
  struct sigaction prof = {.sa_handler = on_prof, .sa_flags = SA_ONSTACK | SA_RESTART};
  struct sigaction usr2 = {.sa_handler = on_usr2, .sa_flags = SA_ONSTACK | SA_RESTART};
  sigaction(SIGPROF, &prof, NULL);
  sigaction(SIGUSR2, &usr2, NULL);
  struct itimerval timer = {{0, 250}, {0, 250}};
  setitimer(ITIMER_PROF, &timer, NULL);
  work(NULL);
  /* The same in a thread; the main thread takes no signals meanwhile. */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPROF);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  sigaddset(&set, SIGUSR2);
  struct itimerval off = {{0, 0}, {0, 0}};
  setitimer(ITIMER_PROF, &off, NULL);
  stop = 0;
  profs = 0;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  pthread_attr_setsigmask_np(&attributes, &none);
  pthread_t thread;
  pthread_create(&thread, &attributes, work, argv);
  setitimer(ITIMER_PROF, &timer, NULL);
  pthread_join(thread, NULL);
  setitimer(ITIMER_PROF, &off, NULL);
  printf("%d\n", usrs);
  return 0;
}
