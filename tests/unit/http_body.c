/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: an answer that is cut or mixed up where its memory grows, and memory that stays.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "serve/http_body.h"
#include "tests/test.h"

TEST(what_is_appended_is_there) {
  struct ha_body body = {NULL, 0, 0, false};
  uint64_t seed = 1;
  size_t size = 0;
  for (unsigned i = 0; i < 20000; i++) {
    ha_body_format(&body, "%u;", i);
    size = body.size;
    char filler[300];
    size_t length = test_random(&seed) % sizeof filler;
    memset(filler, 'x', length);
    ha_body_append(&body, filler, length);
    CHECK_EQ(body.size, size + length);
  }
  CHECK(!body.has_failed, "no memory");
  const char *at = body.data;
  for (unsigned i = 0; i < 20000; i++) {
    unsigned number = 0;
    for (; *at != ';'; at++) {
      number = number * 10 + (unsigned)(*at - '0');
    }
    CHECK_EQ(number, i);
    for (at++; at < body.data + body.size && *at == 'x'; at++) {
    }
  }
  CHECK(at == body.data + body.size, "something is behind the last number");
  CHECK(ha_body_total() >= body.size, "%zu bytes are counted of %zu", ha_body_total(), body.size);
  ha_body_discard(&body);
  CHECK_EQ(ha_body_total(), (size_t)0);
}

TEST(formats_that_end_at_the_edge_are_whole) {
  for (size_t before = 4096 - 12; before <= 4096; before++) {
    struct ha_body body = {NULL, 0, 0, false};
    CHECK(ha_body_reserve(&body, 4096), "no memory");
    memset(body.data, 'x', before);
    body.size = before;
    ha_body_format(&body, "%s", "0123456789");
    CHECK_EQ(body.size, before + 10);
    CHECK(memcmp(body.data + before, "0123456789", 10) == 0, "behind %zu bytes it is cut", before);
    ha_body_discard(&body);
  }
}

TEST(html_has_no_markup_of_others) {
  struct ha_body body = {NULL, 0, 0, false};
  ha_body_html(&body, "a<b>&\"'c");
  ha_body_append(&body, "", 1);
  CHECK_STRING(body.data, "a&lt;b&gt;&amp;&#34;&#39;c");
  ha_body_discard(&body);
}

TEST(a_failure_sticks_and_is_not_fatal) {
  struct ha_body body = {NULL, 0, 0, false};
  ha_body_text(&body, "kept");
  CHECK(!ha_body_reserve(&body, SIZE_MAX / 4), "there is that much memory");
  ha_body_text(&body, "more");
  CHECK(body.has_failed && body.size == 4, "it went on");
  ha_body_discard(&body);
  CHECK_EQ(ha_body_total(), (size_t)0);
}

TEST(a_child_does_not_have_it) {
  struct ha_body body = {NULL, 0, 0, false};
  ha_body_text(&body, "secret");
  pid_t pid = fork();
  if (pid == 0) {
    ha_body_after_fork_in_child();
    volatile char c = body.data[0]; /* ends it by a signal */
    _exit(c == 's' ? 1 : 2);
  }
  int status;
  waitpid(pid, &status, 0);
  CHECK(WIFSIGNALED(status), "the child could read it");
}
