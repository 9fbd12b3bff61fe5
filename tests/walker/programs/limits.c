/* SPDX-License-Identifier: MIT */
/*
 * Sampling where little is allowed:
 *
 *   limits seccomp    a thread that may make only the system calls listed below allocates 1,000 blocks
 *   limits stacks     threads with the smallest stack that pthreads allow allocate, cold and warm
 *   limits depth      prints how many bytes of stack malloc uses: first call, later calls
 *   limits threads    prints the resident KiB that 1,000 threads with one block each add
 */
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define KIB ((size_t)1024)
#define BLOCKS 1000
#define THREADS 1000

NOINLINE void *allocate(size_t size) {
  void *block = malloc(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

/* A second, deeper way to malloc. */
NOINLINE static void *descend(int n, size_t size) {
  void *block = n > 0 ? descend(n - 1, size) : allocate(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

NOINLINE void *filtered_work(void *arg) {
  /* What halloc needs, and behind it what ending a thread needs. */
  static const unsigned allowed[] = {SYS_mmap,           SYS_munmap, SYS_madvise,   SYS_futex,
                                     SYS_rt_sigprocmask, SYS_exit,   SYS_exit_group};
  struct sock_filter filter[32];
  unsigned n = 0;
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (unsigned i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  struct sock_fprog program = {(unsigned short)n, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("seccomp");
    exit(77);
  }
  for (int i = 0; i < BLOCKS; i++) {
    free(descend(i % 40, (size_t)(i % 50) * 100 + 1));
  }
  return NULL;
}

static void in_thread(void *(*work)(void *), void *arg, size_t stack_bytes, void *stack) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  int result = stack != NULL ? pthread_attr_setstack(&attributes, stack, stack_bytes)
                             : pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread;
  if (result != 0 || pthread_create(&thread, &attributes, work, arg) != 0) {
    perror("pthread_create");
    exit(2);
  }
  pthread_join(thread, NULL);
}

NOINLINE void *small_work(void *arg) {
  size_t size = (size_t)(uintptr_t)arg;
  for (int i = 0; i < 3; i++) {
    free(allocate(size));
    free(descend(20, size));
  }
  return NULL;
}

/* How far below this frame the stack was written to by `work`. */
NOINLINE static size_t depth_of(void *(*work)(void)) {
  char *here = __builtin_frame_address(0);
  size_t reach = 48 * KIB;
  volatile uint64_t *low = (volatile uint64_t *)(((uintptr_t)here - reach) & ~(uintptr_t)7);
  volatile uint64_t *end = (volatile uint64_t *)(((uintptr_t)here - 512) & ~(uintptr_t)7);
  for (volatile uint64_t *at = low; at < end; at++) {
    *at = 0x5a5a5a5a5a5a5a5a;
  }
  void *block = work();
  size_t used = 0;
  for (volatile uint64_t *at = low; at < end; at++) {
    if (*at != 0x5a5a5a5a5a5a5a5a) {
      used = (size_t)(here - (char *)(uintptr_t)at);
      break;
    }
  }
  free(block);
  return used;
}

NOINLINE static void *small_block(void) {
  return allocate(100);
}

NOINLINE static void *measure(void *arg) {
  /* The thread's first block sets up its heap, and is not about sampling. */
  free(malloc(5000));
  size_t used[100], warm = 0;
#pragma GCC unroll 1
  for (int i = 0; i < 100; i++) { /* one place of call, so that only the first is cold */
    used[i] = depth_of(small_block);
    __asm__ volatile("" ::: "memory");
  }
  for (int i = 1; i < 100; i++) {
    warm = used[i] > warm ? used[i] : warm;
  }
  printf("%zu %zu\n", used[0], warm);
  return NULL;
}

static pthread_barrier_t barrier;
static void *one_block(void *arg) {
  void *block = allocate(100);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  free(block);
  return NULL;
}

static long resident_kib(void) {
  char line[128] = "";
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fgets(line, sizeof line, file) == NULL) {
    exit(2);
  }
  fclose(file);
  return strtol(strchr(line, ' '), NULL, 10) * 4;
}

static void many_threads(void) {
  static pthread_t threads[THREADS];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * KIB);
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  in_thread(small_work, (void *)100, 64 * KIB, NULL); /* whatever is paid once */
  long before = resident_kib();
  for (int i = 0; i < THREADS; i++) {
    if (pthread_create(&threads[i], &attributes, one_block, NULL) != 0) {
      exit(2);
    }
  }
  pthread_barrier_wait(&barrier);
  printf("%ld\n", resident_kib() - before);
  fflush(stdout);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

int main(int argc, char **argv) {
  if (strcmp(argv[1], "seccomp") == 0) {
    in_thread(filtered_work, NULL, 256 * KIB, NULL);
  } else if (strcmp(argv[1], "stacks") == 0) {
    for (size_t size = 8; size < 200 * KIB; size = size * 3) {
      in_thread(small_work, (void *)size, (size_t)PTHREAD_STACK_MIN, NULL);
    }
  } else if (strcmp(argv[1], "depth") == 0) {
    void *stack = mmap(NULL, 256 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    in_thread(measure, NULL, 256 * KIB, stack);
  } else {
    many_threads();
  }
  return 0;
}
