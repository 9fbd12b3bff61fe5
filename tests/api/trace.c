/* SPDX-License-Identifier: MIT */
/*
 * A program that does known things while it is traced; for trace.py.
 *
 *   trace FILE DROPS     writes the trace; DROPS 1: makes far more events than there is room for
 *
 * The functions under test are not exported, so the library is linked in. What the walker takes for halloc's
 * own code is then only the section of that name, and halloc's functions are on the stacks as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "halloc.h"
#include "sampler/trace.h"
#include "serve/cpu_profile.h"
#include "serve/trace.h"

#define NOINLINE __attribute__((noinline))

__attribute__((section("halloc_text"), used, noinline)) static void stand_in_for_halloc(void) {
  __asm__ volatile("");
}

static int drops;
static int is_done; /* atomic */

NOINLINE static void allocates(void) {
  for (int i = 0; i < 10; i++) {
    void *block = malloc(3000);
    __asm__ volatile("" : : "r"(block) : "memory");
    free(block);
  }
}

static void *short_thread(void *arg) {
  prctl(PR_SET_NAME, "short \"one\"");
  hp_set_labels(hp_labels("handler", "a\\b"));
  allocates();
  return arg;
}

NOINLINE static void starts_threads(void) {
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, short_thread, NULL);
    pthread_join(thread, NULL);
  }
}

static void *work(void *arg) {
  prctl(PR_SET_NAME, "worker");
  starts_threads();
  memset(arg, 1, (size_t)40 << 20);
  free(arg);
  hp_free_os_memory();
  ha_trace_add(HA_TRACE_WAIT, ha_clock_monotonic() - 5000000, 5000000, NULL, 0, 0);
  hp_set_memory_limit((int64_t)4 << 20);
  memset(malloc((size_t)8 << 20), 1, (size_t)8 << 20);
  for (int i = 0; i < drops * 10000; i++) {
    allocates();
  }
  __atomic_store_n(&is_done, 1, __ATOMIC_RELEASE);
  for (;;) {
    pause(); /* a live thread has a name, too */
  }
  return NULL;
}

static bool ends(void *arg) {
  *(int *)arg += 1;
  return *(int *)arg < 3;
}

/* The same way for the profile of processor time. */
static bool collects_processor_time(void) {
  struct ha_profile_file file;
  int asked = 0;
  if (ha_cpu_profile_collect(UINT64_C(1000000000), ends, &asked, &file) != -ECANCELED || asked != 3 ||
      ha_cpu_profile_start() != 0 || ha_cpu_profile_collect(1, NULL, NULL, &file) != -EBUSY) {
    return false;
  }
  ha_cpu_profile_abandon();
  if (ha_cpu_profile_collect(1, NULL, NULL, &file) != 0 || memcmp(file.data, "\x1f\x8b", 2) != 0) {
    return false;
  }
  ha_profile_discard(&file);
  return true;
}

static int write_trace(const char *path) {
  struct ha_profile_file file;
  int error = ha_trace_stop_encode(&file);
  if (error == 0) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    error = ha_profile_write_file(&file, fd);
    ha_profile_discard(&file);
    close(fd);
  }
  return error;
}

int main(int argc, char **argv) {
  pthread_t thread;
  struct ha_profile_file file;
  int asked = 0;
  if (argc != 3 || ha_trace_collect(UINT64_C(1000000000), ends, &asked, &file) != -ECANCELED || asked != 3) {
    return 1;
  }
  if (!collects_processor_time()) {
    return 4;
  }
  drops = atoi(argv[2]);
  hp_set_mem_profile_rate(1);
  void *block = malloc((size_t)40 << 20);
  if (ha_trace_begin() != 0 || ha_trace_begin() != -EBUSY) {
    return 2;
  }
  pthread_create(&thread, NULL, work, block);
  while (__atomic_load_n(&is_done, __ATOMIC_ACQUIRE) == 0) {
    sched_yield();
  }
  if (write_trace(argv[1]) != 0) {
    return 3;
  }
  return ha_trace_begin() == 0 ? 0 : 5; /* the next one can begin */
}
