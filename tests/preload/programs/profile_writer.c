/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a program that knows nothing of halloc: a thread that writes profiles when it is told to.
 *
 * Reads lines `NAME FILE` from the pipe named by PROFILE_PIPE; FILE appears whole, when the profile is written.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_SIZE 1024

static void write_profile(const char *name, const char *path) {
  char temporary[LINE_MAX_SIZE + sizeof ".tmp"];
  int (*write_it)(const char *, int, int);
  *(void **)&write_it = dlsym(RTLD_DEFAULT, "hp_write_profile");
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int error = write_it != NULL ? write_it(name, fd, 0) : -1;
  close(fd);
  if (error == 0) {
    rename(temporary, path);
  }
}

static void *serve(void *pipe) {
  char line[LINE_MAX_SIZE], name[LINE_MAX_SIZE], path[LINE_MAX_SIZE];
  for (;;) {
    FILE *in = fopen(pipe, "re");
    if (in == NULL) {
      return NULL;
    }
    while (fgets(line, sizeof line, in) != NULL) {
      if (sscanf(line, "%s %s", name, path) == 2) {
        write_profile(name, path);
      }
    }
    fclose(in);
  }
}

/* A copy of the name: some programs write over their environment. */
__attribute__((constructor)) static void start(void) {
  const char *pipe = getenv("PROFILE_PIPE");
  pthread_t thread;
  if (pipe != NULL && pthread_create(&thread, NULL, serve, strdup(pipe)) == 0) {
    pthread_detach(thread);
  }
}
