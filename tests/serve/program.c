/* SPDX-License-Identifier: MIT */
/*
 * The program that the tests of the admin port talk to: it does what the lines of its standard input say, and answers
 * each with lines of which the last is ".".
 *
 *   alloc COUNT SIZE      allocates blocks and keeps them    drop COUNT    frees the newest
 *   label KEY VALUE COUNT SIZE   the same under a label         churn COUNT   allocates and frees
 *   labels COUNT          so many blocks of different labels    stats         Mallocs, Frees, HeapAlloc, HeapReleased, RSS
 *   serve ADDRESS         hp_http_serve                         address       hp_http_address
 *   handle METHOD TARGET [BODY]  hp_http_handle; status, fields, an empty line, the body
 *   refuse                hp_http_handle with a sink that fails
 *   burn                  a thread that takes processor time
 *   fds                   what each descriptor is               close, shut   closes or shuts down all from 3 on
 *   limit COUNT           RLIMIT_NOFILE, 0 for all it may be
 *   take, return          all descriptors there are             steal, accept a listener over all sockets
 *   threads               name and blocked signals of each
 *   fork                  a child goes on until "leave"         forks COUNT   children that count their sockets
 *   spawn                 sockets that a shell inherits         exec          the program anew
 *   quit HOW              exit, _exit, quick_exit or pthread_exit
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "halloc.h"

#define BLOCKS_MAX 4000000
#define LINE_MAX_SIZE 65536

#define TAKEN_MAX 65536
#define FD_END 2048

static void **blocks;
static size_t block_count;

__attribute__((noinline)) void keep_blocks(size_t count, size_t size);
__attribute__((noinline)) void keep_blocks(size_t count, size_t size) {
  for (size_t i = 0; i < count && block_count < BLOCKS_MAX; i++) {
    blocks[block_count] = malloc(size);
    memset(blocks[block_count++], 1, size);
  }
}

__attribute__((noinline)) void churn_blocks(size_t count);
__attribute__((noinline)) void churn_blocks(size_t count) {
  for (size_t i = 0; i < count; i++) {
    void *volatile block = malloc(i % 4096 + 1);
    free(block);
  }
}

/* So many rows. */
static void label_many(size_t count) {
  for (size_t i = 0; i < count; i++) {
    char value[32];
    snprintf(value, sizeof value, "%zu", i);
    HP_SCOPE(hp_labels("number", value)) {
      keep_blocks(1, 16);
    }
  }
}

__attribute__((noinline)) void burn_time(void);
__attribute__((noinline)) void burn_time(void) {
  static volatile unsigned long work;
  for (;;) {
    work = work * 3 + 1;
  }
}

static void *run_burning(void *arg) {
  burn_time();
  return arg;
}

/* A thread that does nothing but take processor time. */
static void start_burning(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, run_burning, NULL);
}

static void drop_blocks(size_t count) {
  while (count-- > 0 && block_count > 0) {
    free(blocks[--block_count]);
  }
}

static int put_status(void *arg, int status) {
  (void)arg;
  printf("%d\n", status);
  return 0;
}

static int put_header(void *arg, const char *name, const char *value) {
  (void)arg;
  printf("%s: %s\n", name, value);
  return 0;
}

static int put_body(void *arg, const void *data, size_t size) {
  size_t *total = arg;
  *total += size;
  printf("\n");
  fwrite(data, 1, size, stdout);
  return 0;
}

static int refuse_body(void *arg, const void *data, size_t size) {
  (void)arg;
  (void)data;
  (void)size;
  return -EPIPE;
}

static void handle(const char *method, const char *target, const char *body) {
  size_t total = 0;
  struct hp_http_sink sink = {sizeof sink, &total, put_status, put_header, put_body, body, strlen(body)};
  int result = hp_http_handle(method, target, &sink);
  printf("\nresult %d, %zu bytes\n", result, total);
}

static void print_stats(void) {
  struct hp_memstats stats = hp_memstats();
  printf("%lu %lu %lu %lu %lu\n", stats.Mallocs, stats.Frees, stats.HeapAlloc, stats.HeapReleased, stats.RSS);
}

static void print_descriptors(void) {
  char path[64], target[256];
  for (int fd = 3; fd < FD_END; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0) {
      target[length] = '\0';
      printf("%d %s %s\n", fd, target, (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 ? "cloexec" : "inherited");
    }
  }
}

static void print_threads(void) {
  DIR *directory = opendir("/proc/self/task");
  const struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    char path[512], line[256], name[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
    FILE *file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
      if (sscanf(line, "Name:\t%63[^\n]", name) == 0 && strncmp(line, "SigBlk:", 7) == 0) {
        printf("%s %s", name, line + 8);
      }
    }
    if (file != NULL) {
      fclose(file);
    }
  }
  closedir(directory);
}

static void shut_descriptors(void) {
  for (int fd = 3; fd < FD_END; fd++) {
    shutdown(fd, SHUT_RDWR);
  }
}

static void close_descriptors(void) {
  for (int fd = 3; fd < FD_END; fd++) {
    close(fd);
  }
}

/* The child returns; the parent when the child has ended. */
static void fork_and_wait(pid_t pid) {
  int status;
  if (pid == 0) {
    return;
  }
  waitpid(pid, &status, 0);
  printf("the child ended with %d\n", status);
}

static void quit(const char *how) {
  if (strcmp(how, "exit") == 0) {
    exit(0);
  } else if (strcmp(how, "_exit") == 0) {
    _exit(0);
  } else if (strcmp(how, "quick_exit") == 0) {
    quick_exit(0);
  }
  pthread_exit(NULL);
}

static bool is_socket(int fd) {
  struct stat stat;
  return fstat(fd, &stat) == 0 && S_ISSOCK(stat.st_mode);
}

static int count_sockets(void) {
  int count = 0;
  for (int fd = 3; fd < FD_END; fd++) {
    count += is_socket(fd);
  }
  return count;
}

/* A child for every one; how many of them have a socket. */
static void fork_many(size_t count) {
  int bad = 0;
  for (size_t i = 0; i < count; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      _exit(count_sockets() != 0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    bad += status != 0;
  }
  printf("%d\n", bad);
}

/* What a program sees that is started without fork handlers. */
static void spawn_shell(void) {
  fflush(stdout);
  FILE *pipe = popen("ls -l /proc/self/fd | grep -c socket:", "r");
  char line[64] = "nothing";
  if (pipe != NULL && fgets(line, sizeof line, pipe) == NULL) {
    line[0] = '\0';
  }
  printf("%s", line);
  pclose(pipe);
}

/* Takes every descriptor that there is; gives them back. */
static int taken[TAKEN_MAX], taken_count;

static void take_descriptors(void) {
  int fd;
  while (taken_count < TAKEN_MAX && (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
    taken[taken_count++] = fd;
  }
  printf("%d\n", taken_count);
}

static void return_descriptors(void) {
  while (taken_count > 0) {
    close(taken[--taken_count]);
  }
}

/* Puts a listener of the program's own over every socket of the process; its port. */
static int own_listener;

static void steal_numbers(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  own_listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(own_listener, (void *)&address, size) != 0 || listen(own_listener, 16) != 0 ||
      getsockname(own_listener, (void *)&address, &size) != 0) {
    printf("%s\n", strerror(errno));
    return;
  }
  for (int fd = 3; fd < FD_END; fd++) {
    if (fd != own_listener && is_socket(fd)) {
      dup2(own_listener, fd);
    }
  }
  printf("%d\n", ntohs(address.sin_port));
}

/* The soft limit on descriptors, down to so many and up again. */
static void limit_descriptors(size_t count) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = count != 0 ? count : limit.rlim_max;
  printf("%d\n", setrlimit(RLIMIT_NOFILE, &limit));
}

static void accept_own(void) {
  int fd = accept(own_listener, NULL, NULL);
  printf("%s\n", fd >= 0 ? "accepted" : strerror(errno));
  close(fd);
}

static void print_address(void) {
  printf("%s\n", hp_http_address() != NULL ? hp_http_address() : "none");
}

static void refuse(void) {
  struct hp_http_sink sink = {sizeof sink, NULL, NULL, NULL, refuse_body, NULL, 0};
  printf("%s\n", strerrorname_np(-hp_http_handle("GET", "/metrics", &sink)));
}

static void fork_child(void) {
  fork_and_wait(fork());
}

static char **arguments;

static void exec_again(void) {
  execv("/proc/self/exe", arguments);
}

static bool obey_word(const char *word) {
  static const struct {
    const char *word;
    void (*run)(void);
  } words[] = {
      {"address", print_address},   {"refuse", refuse},         {"stats", print_stats},
      {"burn", start_burning},      {"fds", print_descriptors}, {"threads", print_threads},
      {"close", close_descriptors}, {"shut", shut_descriptors}, {"fork", fork_child},
      {"spawn", spawn_shell},       {"take", take_descriptors}, {"return", return_descriptors},
      {"steal", steal_numbers},     {"accept", accept_own},     {"exec", exec_again},
  };
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(word, words[i].word) == 0) {
      words[i].run();
      return true;
    }
  }
  return false;
}

static void obey(char *line) {
  static char one[LINE_MAX_SIZE / 8], two[LINE_MAX_SIZE / 8], rest[LINE_MAX_SIZE];
  size_t count, size;
  rest[0] = '\0';
  if (sscanf(line, "alloc %zu %zu", &count, &size) == 2) {
    keep_blocks(count, size);
  } else if (sscanf(line, "label %s %s %zu %zu", one, two, &count, &size) == 4) {
    HP_SCOPE(hp_labels(one, two)) {
      keep_blocks(count, size);
    }
  } else if (sscanf(line, "labels %zu", &count) == 1) {
    label_many(count);
  } else if (sscanf(line, "limit %zu", &count) == 1) {
    limit_descriptors(count);
  } else if (sscanf(line, "drop %zu", &count) == 1) {
    drop_blocks(count);
  } else if (sscanf(line, "churn %zu", &count) == 1) {
    churn_blocks(count);
  } else if (sscanf(line, "serve %s", one) == 1) {
    int result = hp_http_serve(one);
    printf("%s\n", result == 0 ? hp_http_address() : strerrorname_np(-result));
  } else if (sscanf(line, "handle %s %s %s", one, two, rest) >= 2) {
    handle(one, two, rest);
  } else if (sscanf(line, "forks %zu", &count) == 1) {
    fork_many(count);
  } else if (sscanf(line, "quit %s", one) == 1) {
    quit(one);
  } else if (!obey_word(line)) {
    printf("what is \"%s\"?\n", line);
  }
}

int main(int argc, char **argv) {
  static char line[LINE_MAX_SIZE], out[LINE_MAX_SIZE];
  arguments = argv;
  setvbuf(stdout, out, _IOFBF, sizeof out);
  setvbuf(stdin, NULL, _IONBF, 0);
  blocks = calloc(BLOCKS_MAX, sizeof *blocks);
  for (int i = 1; i < argc; i++) {
    int result = hp_http_serve(argv[i]);
    if (result != 0) {
      printf("%s\n", strerrorname_np(-result));
      return 1;
    }
  }
  print_address();
  printf(".\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "leave") == 0) {
      _exit(0);
    }
    obey(line);
    printf(".\n");
    fflush(stdout);
  }
  return 0;
}
