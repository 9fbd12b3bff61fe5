/* SPDX-License-Identifier: MIT */
/*
 * Requests made by chance, from good ones by mutation: into the parser and the routes directly, and through a socket.
 *
 * What could break a user here: bytes that crash the program, that make the port read beyond what it received, keep
 * memory, or not answer any more.
 *
 *   fuzz parser COUNT [SEED]   in the process; what is parsed stands before a page that cannot be read
 *   fuzz socket COUNT [SEED]   COUNT connections, each with a few requests, cut into pieces, some left in the middle
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "halloc.h"
#include "serve/http_answer.h"
#include "serve/http_guard.h"
#include "serve/http_status.h"
#include "tests/test.h"

#define ROOM ((size_t)16384)
#define GROWTH_MAX ((uint64_t)8 << 20)
#define PARTS_MAX 4

static const char *const seeds[] = {
    "GET /debug/pprof/heap?debug=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "GET /debug/pprof/allocs?seconds=5&gc=1 HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n",
    "POST /debug/pprof/symbol HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 11\r\n\r\n0x10+0x2+99",
    "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer token\r\n\r\n",
    "HEAD /memstats HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nSec-Fetch-Site: none\r\n\r\n",
    "GET /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nX-Long: aaaaaaaaaaaa\r\n\r\n",
    "GET /pprof/cmdline HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /debug/pprof HTTP/1.1\r\nhost:127.0.0.1:65535\r\nConnection: keep-alive\r\n\r\n",
    "GET /debug/pprof/heap?seconds=%31&debug=%x&a=b;c=d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
};

static const char *const words[] = {"\r\n",       "\r\n\r\n", "\n",       "\r",
                                    "\0",         " ",        ":",        "%00",
                                    "%",          "HTTP/1.1", "Host: ",   "seconds=",
                                    "GET ",       "/../",     "[::1]",    "Content-Length: ",
                                    "9999999999", "-1",       "0x",       "+",
                                    "\x7f",       "\xff\xfe", "debug=",   "Bearer ",
                                    "?",          "&",        "http://",  "Connection: ",
                                    "//",         "\t",       "HTTP/2.0", "Origin: null\r\n"};

static uint64_t chance;

static size_t below(size_t bound) {
  return test_random(&chance) % bound;
}

/* Replaces `count` bytes at a place by others; the sizes fit, or nothing is done. */
static size_t splice(char *text, size_t size, size_t at, size_t count, const char *with, size_t with_size) {
  if (at + count > size || size - count + with_size > ROOM) {
    return size;
  }
  memmove(text + at + with_size, text + at + count, size - at - count);
  memcpy(text + at, with, with_size);
  return size - count + with_size;
}

static size_t mutate(char *text, size_t size) {
  static char filler[ROOM / 2];
  const char *word = words[below(sizeof words / sizeof words[0])];
  size_t at = below(size + 1);
  switch (below(8)) {
  case 0:
    text[at < size ? at : 0] = (char)below(256);
    return size;
  case 1:
    return splice(text, size, at, 0, word, strlen(word));
  case 2:
    return splice(text, size, at, below(20), "", 0);
  case 3:
    memset(filler, (int)below(256), sizeof filler);
    return splice(text, size, at, 0, filler, below(below(4) == 0 ? sizeof filler : 40));
  case 4:
    memcpy(filler, text, size < sizeof filler ? size : sizeof filler);
    return splice(text, size, at, 0, filler, below((size < sizeof filler ? size : sizeof filler) + 1));
  case 5:
    return splice(text, size, at, strlen(word), word, strlen(word));
  case 6:
    return at;
  default:
    return size;
  }
}

static size_t make(char *text) {
  const char *seed = seeds[below(sizeof seeds / sizeof seeds[0])];
  size_t size = strlen(seed);
  memcpy(text, seed, size);
  for (size_t i = below(6); i > 0 && size > 0; i--) {
    size = mutate(text, size);
  }
  return size;
}

/* ---- in the process ---- */

static void check_inside(struct ha_slice slice, const char *data, size_t size) {
  CHECK(slice.data == NULL || slice.size == 0 ||
            (slice.data >= data && slice.data + slice.size <= data + size),
        "a text that is not in the request");
}

static void check_head(const struct ha_http_head *head, const char *data, size_t size) {
  CHECK(head->size <= size && head->size <= HA_HTTP_HEAD_MAX, "a head of %zu bytes in %zu", head->size, size);
  check_inside(head->host, data, head->size);
  check_inside(head->origin, data, head->size);
  check_inside(head->fetch_site, data, head->size);
  check_inside(head->authorization, data, head->size);
  check_inside(head->request.path, data, head->size);
  CHECK(head->body_size <= HA_HTTP_BODY_MAX, "a body of %zu bytes", head->body_size);
}

/* What is decided stays decided, however much comes behind it. */
static void check_prefix(const char *data, size_t size, int status, const struct ha_http_head *head) {
  struct ha_http_head before;
  size_t part = below(size + 1);
  int early = ha_http_parse(data, part, &before);
  if (early == 0) {
    CHECK(status == 0 && before.size == head->size, "%d after %zu bytes, %d after %zu", early, part, status,
          size);
  } else if (early != HA_HTTP_MORE) {
    CHECK(status == early, "%d after %zu bytes, %d after %zu", early, part, status, size);
  } else if (status == 0) {
    CHECK(part < head->size, "no head in %zu bytes, one of %zu", part, head->size);
  }
}

static void answer(struct ha_http_head *head, const char *data, size_t size) {
  static const char *const tokens[] = {"", "token"};
  struct ha_http_guard guard = {tokens[below(2)], below(2) != 0};
  const char *reason;
  int status = ha_http_admit(&guard, head, &reason);
  CHECK(status == 0 || status == HA_STATUS_FORBIDDEN || status == HA_STATUS_UNAUTHORIZED, "status %d",
        status);
  struct ha_answer answer = {0};
  size_t there = size - head->size;
  head->request.body =
      (struct ha_slice){data + head->size, there < head->body_size ? there : head->body_size};
  ha_answer_begin(&answer, &head->request);
  if (answer.wait_nanos != 0 && below(2) != 0) {
    ha_answer_finish(&answer);
  }
  CHECK(answer.status >= HA_STATUS_OK && answer.status <= HA_STATUS_VERSION, "status %d", answer.status);
  ha_answer_discard(&answer);
  CHECK_EQ(ha_body_total(), (size_t)0);
}

static void fuzz_parser(size_t count) {
  static char text[ROOM];
  char *room = mmap(NULL, ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(room != MAP_FAILED && mprotect(room + ROOM, 4096, PROT_NONE) == 0, "no memory");
  size_t taken = 0, refused = 0, answered = 0;
  for (size_t i = 0; i < count; i++) {
    struct ha_http_head head;
    size_t size = make(text);
    const char *data = memcpy(room + ROOM - size, text, size);
    int status = ha_http_parse(data, size, &head);
    check_prefix(data, size, status, &head);
    if (status == 0) {
      taken++;
      check_head(&head, data, size);
      /* An encoding takes a thousand times as long as a parse. */
      if (!ha_slice_begins(head.request.path, "/debug/pprof/") || below(64) == 0) {
        answer(&head, data, size);
        answered++;
      }
    }
    refused += status > 0;
  }
  test_note("%zu requests: %zu taken, %zu of them answered, %zu refused", count, taken, answered, refused);
}

/* ---- through a socket ---- */

static struct sockaddr_un name = {.sun_family = AF_UNIX};

static int dial(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval limit = {30, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  CHECK(connect(fd, (void *)&name, sizeof name) == 0, "connect: %s", strerror(errno));
  return fd;
}

/* False: the server has closed it. */
static bool send_in_pieces(int fd, const char *data, size_t size) {
  size_t pieces = 1 + below(PARTS_MAX);
  for (size_t at = 0; at < size;) {
    size_t part = pieces-- > 1 ? below(size - at) + 1 : size - at;
    ssize_t sent = send(fd, data + at, part, MSG_NOSIGNAL);
    if (sent <= 0) {
      return false;
    }
    at += (size_t)sent;
  }
  return true;
}

/* Until the end, which must come. */
static size_t read_answers(int fd) {
  static char part[65536];
  size_t total = 0;
  ssize_t size;
  while ((size = recv(fd, part, sizeof part, 0)) > 0) {
    total += (size_t)size;
  }
  CHECK(size == 0 || errno == ECONNRESET, "no end of the answer: %s", strerror(errno));
  return total;
}

/* Requests for profiles of a span of time would keep connections for as long. */
static bool may_wait(const char *text, size_t size) {
  return memmem(text, size, "seconds", 7) != NULL || memchr(text, '%', size) != NULL;
}

static size_t exchange(void) {
  static char text[ROOM];
  int fd = dial();
  bool is_open = true, waits = false;
  for (size_t i = below(3) + 1; i > 0 && is_open; i--) {
    size_t size = make(text);
    waits |= may_wait(text, size);
    is_open = send_in_pieces(fd, text, size);
  }
  size_t size = 0;
  if (!waits && below(4) != 0) {
    shutdown(fd, SHUT_WR);
    size = read_answers(fd);
  }
  close(fd);
  return size;
}

static void check_alive(void) {
  static const char request[] = "GET /memstats HTTP/1.0\r\nHost: localhost\r\n\r\n";
  char start[16] = "";
  int fd = dial();
  CHECK(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0, "it takes nothing");
  ssize_t size = recv(fd, start, sizeof start - 1, MSG_WAITALL);
  CHECK(size > 0 && strncmp(start, "HTTP/1.1 200", 12) == 0, "the answer begins with \"%s\"", start);
  close(fd);
}

static void fuzz_socket(size_t count) {
  char address[128];
  ha_format(address, sizeof address, "unix:/tmp/halloc-fuzz.%d", (int)getpid());
  ha_format(name.sun_path, sizeof name.sun_path, "%s", address + strlen("unix:"));
  CHECK_EQ(hp_http_serve(address), 0);
  struct hp_memstats before, after;
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) {
    bytes += exchange();
    if (i == count / 10) {
      check_alive();
      hp_memstats_read(&before, sizeof before);
    }
  }
  check_alive();
  hp_memstats_read(&after, sizeof after);
  test_note("%zu connections, %zu bytes of answers; RSS %lu KiB, at a tenth %lu KiB", count, bytes,
            after.RSS >> 10, before.RSS >> 10);
  CHECK_EQ(after.Mallocs, before.Mallocs);
  CHECK(after.RSS < before.RSS + GROWTH_MAX, "it grew by %lu bytes", after.RSS - before.RSS);
  CHECK(dup(0) < 16, "descriptors are left open");
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
  chance = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
  test_note("seed %lu", chance);
  if (count != 0 && strcmp(argv[1], "parser") == 0) {
    fuzz_parser(count);
  } else if (count != 0 && strcmp(argv[1], "socket") == 0) {
    fuzz_socket(count);
  } else {
    test_note("usage: fuzz parser|socket COUNT [SEED]");
    return 2;
  }
  test_note("ok %s", argv[1]);
  return 0;
}

/* Of the harness; this program is one test in one process. */
void test_note(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vprintf(format, args);
  printf("\n");
  va_end(args);
}

void test_fail(const char *file, int line, const char *format, ...) {
  va_list args;
  va_start(args, format);
  printf("FAIL: %s:%d: ", file, line);
  vprintf(format, args);
  printf("\n");
  va_end(args);
  abort();
}

void test_fail_eq(const char *file, int line, const char *what, struct test_value actual,
                  struct test_value expected) {
  test_fail(file, line, "%s is %llu, not %llu", what, actual.u.as_unsigned, expected.u.as_unsigned);
}
