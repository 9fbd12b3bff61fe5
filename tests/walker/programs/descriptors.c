/* SPDX-License-Identifier: MIT */
/*
 * What daemons do: close everything above standard error, then reuse the numbers. Prints the open descriptors
 * before and after, and fails if a byte that it sent to itself did not arrive as it was.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 400

static void print_open(const char *when) {
  DIR *directory = opendir("/proc/self/fd");
  char line[512] = "";
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory)) {
      strncat(line, " ", sizeof line - strlen(line) - 1);
      strncat(line, entry->d_name, sizeof line - strlen(line) - 1);
    }
  }
  closedir(directory);
  printf("%s:%s\n", when, line);
}

__attribute__((noinline)) static void *deeper(int n, size_t size) {
  void *block = n > 0 ? deeper(n - 1, size) : malloc(size);
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

int main(void) {
  print_open("start");
  int pair[2];
  for (int fd = 3; fd < 1024; fd++) {
    close(fd);
  }
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
    return 2;
  }
  print_open("opened");
  for (int i = 0; i < ROUNDS; i++) {
    unsigned char out[64], in[64];
    memset(out, i, sizeof out);
    char *block =
        deeper(i % 30, (size_t)(i % 90) * 50 + 1); /* the 100 ways to walk that a pipe would notice */
    if (write(pair[0], out, sizeof out) != sizeof out) {
      return 3;
    }
    free(block);
    free(deeper(i % 7, 10));
    if (recv(pair[1], in, sizeof in, MSG_WAITALL) != sizeof in || memcmp(in, out, sizeof in) != 0) {
      return 4;
    }
  }
  char rest;
  if (recv(pair[1], &rest, 1, MSG_DONTWAIT) != -1 || recv(pair[0], &rest, 1, MSG_DONTWAIT) != -1) {
    return 5; /* someone else wrote into our sockets */
  }
  print_open("after");
  return 0;
}
