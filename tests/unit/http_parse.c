/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a request that is read as another one than the client or a proxy before it meant, and
 * one that reads beyond what was received. The data stands before a page that cannot be read.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "serve/http_parse.h"
#include "serve/http_status.h"
#include "tests/test.h"

#define ROOM ((size_t)16384)

static struct ha_http_head head;

static char *put_at_edge(const char *data, size_t size) {
  static char *room;
  if (room == NULL) {
    room = mmap(NULL, ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(room + ROOM, 4096, PROT_NONE);
  }
  return memcpy(room + ROOM - size, data, size);
}

static int parse(const char *text, size_t size) {
  return ha_http_parse(put_at_edge(text, size), size, &head);
}

static bool is(struct ha_slice slice, const char *text) {
  return text == NULL ? slice.data == NULL : ha_slice_equals(slice, text);
}

static const char whole[] = "POST /pprof/symbol?a=b?c HTTP/1.1\r\nHOST:\t 127.0.0.1:1 \r\nOrigin:http://x\r\n"
                            "Authorization: Bearer x y\r\nSec-Fetch-Site: none\r\ncontent-length: 0012\r\n"
                            "Expect: 100-Continue\r\nX-Other:\r\n\r\n1+2";

TEST(a_whole_head_is_taken_apart) {
  CHECK_EQ(parse(whole, sizeof whole - 1), 0);
  CHECK_EQ(head.size, sizeof whole - 1 - 3);
  CHECK_EQ((int)head.request.method, (int)HA_HTTP_POST);
  CHECK(is(head.request.path, "/pprof/symbol") && is(head.request.query, "a=b?c"), "another target");
  CHECK(is(head.host, "127.0.0.1:1") && is(head.origin, "http://x"), "another host or origin");
  CHECK(is(head.authorization, "Bearer x y") && is(head.fetch_site, "none"), "another authorization or site");
  CHECK(head.body_size == 12 && head.has_body_size && head.expects_continue && head.keeps_alive,
        "another body");
}

TEST(every_part_of_it_asks_for_more) {
  for (size_t size = 0; size < sizeof whole - 1 - 3; size++) {
    CHECK(parse(whole, size) == HA_HTTP_MORE, "%zu bytes: %d", size, parse(whole, size));
  }
}

static void check_status(const char *text, int status) {
  int found = parse(text, strlen(text));
  CHECK(found == status, "%s: %d, not %d", text, found, status);
}

TEST(what_is_ambiguous_is_refused) {
  check_status("GET / HTTP/1.1\r\n\r\n", 0);
  CHECK(is(head.host, NULL) && is(head.origin, NULL) && is(head.authorization, NULL), "fields from nowhere");
  check_status("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nhost:\r\nHOST: a\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nOrigin: a\r\nOrigin: b\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
               HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", HA_STATUS_LENGTH_REQUIRED);
  check_status("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\nHost: a\n\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nHost: a\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1 \r\n\r\n", HA_STATUS_VERSION);
  check_status("GET / HTTP/1.2\r\n\r\n", HA_STATUS_VERSION);
  check_status("GET / HTTP/0.9\r\n\r\n", HA_STATUS_VERSION);
  check_status("GET /\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET http://a/ HTTP/1.1\r\n\r\n", HA_STATUS_FORBIDDEN);
  check_status("GET //a/ HTTP/1.1\r\n\r\n", 0);
  check_status("CONNECT a:1 HTTP/1.1\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("OPTIONS * HTTP/1.1\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET /\x80 HTTP/1.1\r\n\r\n", HA_STATUS_BAD_REQUEST);
  check_status("GET / HTTP/1.1\r\nExpect: x\r\n\r\n", HA_STATUS_EXPECTATION);
}

TEST(connections_are_kept_as_the_version_says) {
  check_status("GET / HTTP/1.1\r\n\r\n", 0);
  CHECK(head.keeps_alive, "1.1");
  check_status("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", 0);
  CHECK(!head.keeps_alive, "1.1 with close");
  check_status("GET / HTTP/1.0\r\n\r\n", 0);
  CHECK(!head.keeps_alive, "1.0");
  check_status("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 0);
  CHECK(head.keeps_alive, "1.0 with keep-alive");
}

static int parse_sizes(size_t target_size, size_t field_size) {
  static char text[ROOM];
  size_t size = 0;
  size += (size_t)snprintf(text, sizeof text, "GET /");
  memset(text + size, 'a', target_size - 1);
  size += target_size - 1;
  size += (size_t)snprintf(text + size, sizeof text - size, " HTTP/1.1\r\nX:");
  memset(text + size, 'b', field_size);
  size += field_size;
  size += (size_t)snprintf(text + size, sizeof text - size, "\r\n\r\n");
  return parse(text, size);
}

TEST(sizes_have_sharp_limits) {
  CHECK_EQ(parse_sizes(HA_HTTP_TARGET_MAX, 10), 0);
  CHECK_EQ(parse_sizes(HA_HTTP_TARGET_MAX + 1, 10), HA_STATUS_URI_TOO_LONG);
  CHECK_EQ(parse_sizes(HA_HTTP_HEAD_MAX, 10), HA_STATUS_URI_TOO_LONG);
  size_t rest = sizeof "GET / HTTP/1.1\r\nX:\r\n\r\n" - 1;
  CHECK_EQ(parse_sizes(1, HA_HTTP_HEAD_MAX - rest), 0);
  CHECK_EQ(head.size, HA_HTTP_HEAD_MAX);
  CHECK_EQ(parse_sizes(1, HA_HTTP_HEAD_MAX - rest + 1), HA_STATUS_HEAD_TOO_LARGE);
  check_status("GET / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n", 0);
  check_status("GET / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", HA_STATUS_BODY_TOO_LARGE);
  check_status("GET / HTTP/1.1\r\nContent-Length: 999999999999999\r\n\r\n", HA_STATUS_BODY_TOO_LARGE);
  check_status("GET / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\n", HA_STATUS_BAD_REQUEST);
}

TEST(every_status_has_a_reason) {
  static const int statuses[] = {200, 301, 400, 401, 403, 404, 405, 408, 411,
                                 413, 414, 417, 431, 500, 501, 503, 505};
  for (size_t i = 0; i < HA_ARRAY_LEN(statuses); i++) {
    CHECK(strcmp(ha_http_reason(statuses[i]), "Error") != 0, "%d has none", statuses[i]);
  }
  CHECK_STRING(ha_http_reason(599), "Error");
}
