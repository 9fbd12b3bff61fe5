// SPDX-License-Identifier: MIT
// Forks in one of two orders and prints the id of the process that was started. `child-first`: the child ends while
// the parent lives; `parent-first`: it ends last (standard output tells: it reaches its end when both are gone).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile kept[200];

static void allocate(size_t size) {
  for (int i = 0; i < 200; i++) {
    kept[i] = malloc(size + (size_t)i);
  }
}

int main(int argc, char **argv) {
  int wait_for_child = argc > 1 && strcmp(argv[1], "child-first") == 0;
  int lifeline[2];
  allocate(5000);
  printf("%d\n", (int)getpid());
  fflush(stdout);
  if (pipe(lifeline) != 0) {
    return 1;
  }
  pid_t child = fork();
  if (child < 0) {
    return 1;
  }
  if (child == 0) {
    char byte;
    close(lifeline[1]);
    allocate(7000);
    if (!wait_for_child && read(lifeline[0], &byte, 1) != 0) {
      _exit(1);
    }
    exit(0); // through the library's own end
  }
  int status = 0;
  if (wait_for_child && (waitpid(child, &status, 0) != child || status != 0)) {
    return 1;
  }
  return 0;
}
