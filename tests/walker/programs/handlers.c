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
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

void computes_in_asm(volatile int *stop); /* its own frame pointer holds other things */

static volatile int stop;
static int wanted;
static volatile int profs, usrs, allocated;

NOINLINE void allocate_in_handler(size_t size) {
  void *block = malloc(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  free(block);
  allocated++;
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

/* A high-resolution timer that signals this thread: CPU timers tick no faster than the kernel's clock. */
static void *work(void *arg) {
  static char stacks[2][128 * 1024];
  stack_t alternate = {.ss_sp = stacks[arg != NULL], .ss_size = sizeof stacks[0]};
  sigaltstack(&alternate, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
  event._sigev_un._tid = gettid();
  struct itimerspec spec = {{0, 250000}, {0, 250000}};
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &spec, NULL) != 0) {
    exit(3);
  }
  stop = profs = 0;
  caller_of_computes();
  caller_of_asm();
  timer_delete(timer);
  return NULL;
}

int main(int argc, char **argv) {
  wanted = atoi(argv[1]);
  struct sigaction prof = {.sa_handler = on_prof, .sa_flags = SA_ONSTACK | SA_RESTART};
  struct sigaction usr2 = {.sa_handler = on_usr2, .sa_flags = SA_ONSTACK | SA_RESTART};
  sigaction(SIGPROF, &prof, NULL);
  sigaction(SIGUSR2, &usr2, NULL);
  work(NULL);
  pthread_t thread;
  pthread_create(&thread, NULL, work, argv);
  pthread_join(thread, NULL);
  printf("%d %d\n", allocated, usrs);
  return 0;
}
