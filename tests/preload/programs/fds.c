// SPDX-License-Identifier: MIT
// A library must leave a process's descriptors and threads alone. Prints what there is before and after a lot of
// allocation, then does what daemons do: closes every descriptor and gives the first numbers to a socket pair.
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void list(const char *directory, int hidden, char *out) {
  DIR *dir = opendir(directory);
  *out = '\0';
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != (hidden != 0 ? dirfd(dir) : -1)) {
      sprintf(out + strlen(out), " %s", hidden != 0 ? entry->d_name : "thread");
    }
  }
  closedir(dir);
}

static void *allocate(void *arg) {
  (void)arg;
  for (int round = 0; round < 20; round++) {
    void *blocks[500];
    for (int i = 0; i < 500; i++) {
      blocks[i] = malloc((size_t)(i * 37 % 3000) + (i % 100 == 0 ? 200000 : 1));
    }
    for (int i = 0; i < 500; i++) {
      free(blocks[i]);
    }
  }
  return NULL;
}

static void allocate_in_threads(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    pthread_create(&threads[i], NULL, allocate, NULL);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
  allocate(NULL);
}

// What a daemon finds on its socket after a while is what its peer sent, and nothing else.
static const char *talk(void) {
  int pair[2];
  char text[16];
  if (close_range(0, ~0u, 0) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
    return "no socket pair";
  }
  if (pair[0] != 0 || pair[1] != 1 || dup(0) != 2) {
    return "the first numbers were taken";
  }
  allocate_in_threads();
  if (write(1, "hello", 5) != 5 || recv(0, text, sizeof text, MSG_DONTWAIT) != 5 || memcmp(text, "hello", 5) != 0) {
    return "the message was lost";
  }
  return recv(0, text, sizeof text, MSG_DONTWAIT) > 0 || recv(1, text, sizeof text, MSG_DONTWAIT) > 0
             ? "somebody else wrote to the socket"
             : "fine";
}

int main(void) {
  static char before[4096], after[4096], threads[4096];
  list("/proc/self/fd", 1, before);
  allocate_in_threads();
  list("/proc/self/fd", 1, after);
  list("/proc/self/task", 0, threads);
  printf("before:%s\nafter:%s\nthreads:%s\n", before, after, threads);
  fflush(stdout);
  const char *verdict = talk();
  FILE *file = fopen("verdict", "w");
  if (file == NULL) {
    return 1;
  }
  fprintf(file, "%s\n", verdict);
  fclose(file);
  return strcmp(before, after) != 0;
}
