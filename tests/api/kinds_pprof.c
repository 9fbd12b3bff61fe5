/* SPDX-License-Identifier: MIT */
/*
 * A program with something to show in every profile; for kinds_pprof.py.
 *
 *   kinds_pprof DIRECTORY     writes NAME.pb.gz and NAME.txt there for every profile but the heap's
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 3

static sem_t waiting, word;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *wants_the_lock(void *arg) {
  sem_post(&waiting);
  pthread_mutex_lock(&lock);
  pthread_mutex_unlock(&lock);
  return arg;
}

/* One contention of 20 ms. */
static __attribute__((noinline)) void lets_go_of_the_lock(void) {
  pthread_t thread;
  pthread_mutex_lock(&lock);
  pthread_create(&thread, NULL, wants_the_lock, NULL);
  sem_wait(&waiting);
  usleep(20000);
  pthread_mutex_unlock(&lock);
  pthread_join(thread, NULL);
}

static __attribute__((noinline)) void *waits_for_the_word(void *arg) {
  sem_post(&waiting);
  sem_wait(&word);
  return arg;
}

static void write_both(const char *directory, const char *name) {
  static const char *const endings[] = {"pb.gz", "txt"};
  int (*write_profile)(const char *, int, int);
  *(void **)&write_profile = dlsym(RTLD_DEFAULT, "hp_write_profile");
  for (int debug = 1; debug >= 0; debug--) { /* text does not begin a new interval */
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s", directory, name, endings[debug]);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int error = write_profile != NULL && fd >= 0 ? write_profile(name, fd, debug) : -1;
    if (error != 0 || close(fd) != 0) {
      fprintf(stderr, "%s: %d\n", path, error);
      exit(1);
    }
  }
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  sem_init(&waiting, 0, 0);
  sem_init(&word, 0, 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, waits_for_the_word, NULL);
  }
  for (int i = 0; i < THREADS; i++) {
    sem_wait(&waiting);
  }
  lets_go_of_the_lock();
  write_both(argc > 1 ? argv[1] : ".", "mutex");
  write_both(argc > 1 ? argv[1] : ".", "block");
  write_both(argc > 1 ? argv[1] : ".", "delta_mutex");
  write_both(argc > 1 ? argv[1] : ".", "delta_block");
  write_both(argc > 1 ? argv[1] : ".", "threads");
  write_both(argc > 1 ? argv[1] : ".", "goroutine");
  write_both(argc > 1 ? argv[1] : ".", "threadcreate");
  for (int i = 0; i < THREADS; i++) {
    sem_post(&word);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  return 0;
}
