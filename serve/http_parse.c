/* SPDX-License-Identifier: MIT */
/*
 * Line by line: each is cut off the front of what is left.
 */
#include "serve/http_parse.h"

#include <string.h>

#include "serve/http_status.h"

#define NUMBER_DIGITS_MAX 15

bool ha_slice_equals_nocase(struct ha_slice slice, const char *text) {
  size_t i = 0;
  for (; i < slice.size && text[i] != '\0'; i++) {
    char c = slice.data[i];
    if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != text[i]) {
      return false;
    }
  }
  return slice.data != NULL && i == slice.size && text[i] == '\0';
}

enum ha_http_method ha_http_parse_method(struct ha_slice method) {
  if (ha_slice_equals(method, "GET")) {
    return HA_HTTP_GET;
  }
  if (ha_slice_equals(method, "HEAD")) {
    return HA_HTTP_HEAD;
  }
  return ha_slice_equals(method, "POST") ? HA_HTTP_POST : HA_HTTP_OTHER;
}

static bool is_token_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct ha_slice slice) {
  size_t i = 0;
  while (i < slice.size && is_token_char(slice.data[i])) {
    i++;
  }
  return i > 0 && i == slice.size;
}

bool ha_http_parse_target(struct ha_slice target, struct ha_http_request *request) {
  for (size_t i = 0; i < target.size; i++) {
    if (target.data[i] <= ' ' || target.data[i] > '~') {
      return false;
    }
  }
  if (target.size == 0 || target.data[0] != '/') {
    return false;
  }
  const char *mark = memchr(target.data, '?', target.size);
  size_t path_size = mark != NULL ? (size_t)(mark - target.data) : target.size;
  request->path = (struct ha_slice){target.data, path_size};
  request->query = mark != NULL ? ha_slice_behind(target, path_size + 1) : ha_slice_of("");
  return true;
}

/* Cuts off what comes before the first blank, and the blank; all of it if there is none. */
static struct ha_slice take_word(struct ha_slice *rest) {
  const char *blank = memchr(rest->data, ' ', rest->size);
  struct ha_slice word = {rest->data, blank != NULL ? (size_t)(blank - rest->data) : rest->size};
  *rest = ha_slice_behind(*rest, word.size + (blank != NULL));
  return word;
}

/* Cuts off a line and its end. False: there is no whole line. */
static bool take_line(struct ha_slice *rest, struct ha_slice *line) {
  const char *end = memchr(rest->data, '\n', rest->size);
  if (end == NULL) {
    return false;
  }
  size_t size = (size_t)(end - rest->data);
  *line = (struct ha_slice){rest->data, size};
  *rest = ha_slice_behind(*rest, size + 1);
  return true;
}

/* The CR at its end is taken off. False: there is none, or another. */
static bool trim_line(struct ha_slice *line) {
  if (line->size == 0 || line->data[line->size - 1] != '\r') {
    return false;
  }
  line->size--;
  return memchr(line->data, '\r', line->size) == NULL;
}

static int parse_request_line(struct ha_slice line, struct ha_http_head *head) {
  struct ha_slice method = take_word(&line);
  head->target = take_word(&line);
  if (!is_token(method) || head->target.size == 0 || !ha_slice_begins(line, "HTTP/")) {
    return HA_STATUS_BAD_REQUEST;
  }
  if (head->target.size > HA_HTTP_TARGET_MAX) {
    return HA_STATUS_URI_TOO_LONG;
  }
  if (!ha_slice_equals(line, "HTTP/1.1") && !ha_slice_equals(line, "HTTP/1.0")) {
    return HA_STATUS_VERSION;
  }
  head->request.method = ha_http_parse_method(method);
  head->keeps_alive = ha_slice_equals(line, "HTTP/1.1");
  /* As a proxy gets it; we are none, and its host would not be that of the Host field. */
  if (ha_slice_begins(head->target, "http://") || ha_slice_begins(head->target, "https://")) {
    return HA_STATUS_FORBIDDEN;
  }
  return ha_http_parse_target(head->target, &head->request) ? 0 : HA_STATUS_BAD_REQUEST;
}

static bool parse_size(struct ha_slice text, size_t *size) {
  size_t i = 0;
  *size = 0;
  for (; i < text.size && i < NUMBER_DIGITS_MAX && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
    *size = *size * 10 + (size_t)(text.data[i] - '0');
  }
  return i > 0 && i == text.size;
}

/* Keeps the value of a field that may come once. */
static int keep(struct ha_slice *kept, struct ha_slice value) {
  if (kept->data != NULL) {
    return HA_STATUS_BAD_REQUEST;
  }
  *kept = value;
  return 0;
}

static int use_body_size(struct ha_http_head *head, struct ha_slice value) {
  if (head->has_body_size || !parse_size(value, &head->body_size)) {
    return HA_STATUS_BAD_REQUEST;
  }
  head->has_body_size = true;
  return 0;
}

static int use_expectation(struct ha_http_head *head, struct ha_slice value) {
  head->expects_continue = ha_slice_equals_nocase(value, "100-continue");
  return head->expects_continue ? 0 : HA_STATUS_EXPECTATION;
}

static int use_field(struct ha_http_head *head, struct ha_slice name, struct ha_slice value) {
  if (ha_slice_equals_nocase(name, "host")) {
    return keep(&head->host, value);
  }
  if (ha_slice_equals_nocase(name, "origin")) {
    return keep(&head->origin, value);
  }
  if (ha_slice_equals_nocase(name, "sec-fetch-site")) {
    return keep(&head->fetch_site, value);
  }
  if (ha_slice_equals_nocase(name, "authorization")) {
    return keep(&head->authorization, value);
  }
  if (ha_slice_equals_nocase(name, "content-length")) {
    return use_body_size(head, value);
  }
  if (ha_slice_equals_nocase(name, "expect")) {
    return use_expectation(head, value);
  }
  if (ha_slice_equals_nocase(name, "transfer-encoding")) {
    head->is_chunked = true;
  } else if (ha_slice_equals_nocase(name, "connection")) {
    head->keeps_alive = ha_slice_equals_nocase(value, "keep-alive") ||
                        (head->keeps_alive && !ha_slice_equals_nocase(value, "close"));
  }
  return 0;
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static int parse_field(struct ha_slice line, struct ha_http_head *head) {
  const char *colon = memchr(line.data, ':', line.size);
  if (colon == NULL) {
    return HA_STATUS_BAD_REQUEST;
  }
  struct ha_slice name = {line.data, (size_t)(colon - line.data)};
  struct ha_slice value = ha_slice_behind(line, name.size + 1);
  while (value.size > 0 && is_blank(value.data[0])) {
    value = ha_slice_behind(value, 1);
  }
  while (value.size > 0 && is_blank(value.data[value.size - 1])) {
    value.size--;
  }
  for (size_t i = 0; i < value.size; i++) {
    unsigned char c = (unsigned char)value.data[i];
    if ((c < ' ' && c != '\t') || c == 0x7f) {
      return HA_STATUS_BAD_REQUEST;
    }
  }
  return is_token(name) ? use_field(head, name, value) : HA_STATUS_BAD_REQUEST;
}

static int check_body(const struct ha_http_head *head) {
  if (head->is_chunked) {
    return head->has_body_size ? HA_STATUS_BAD_REQUEST : HA_STATUS_LENGTH_REQUIRED;
  }
  return head->body_size > HA_HTTP_BODY_MAX ? HA_STATUS_BODY_TOO_LARGE : 0;
}

/* The answer to bytes that may still become a head. */
static int expect_more(size_t size, bool has_first_line) {
  if (size >= HA_HTTP_HEAD_MAX) {
    return has_first_line ? HA_STATUS_HEAD_TOO_LARGE : HA_STATUS_URI_TOO_LONG;
  }
  return HA_HTTP_MORE;
}

int ha_http_parse(const char *data, size_t size, struct ha_http_head *head) {
  memset(head, 0, sizeof *head);
  struct ha_slice rest = {data, size < HA_HTTP_HEAD_MAX ? size : HA_HTTP_HEAD_MAX}, line;
  if (!take_line(&rest, &line)) {
    return expect_more(size, false);
  }
  int status = trim_line(&line) ? parse_request_line(line, head) : HA_STATUS_BAD_REQUEST;
  while (status == 0) {
    if (!take_line(&rest, &line)) {
      return expect_more(size, true);
    }
    if (!trim_line(&line)) {
      return HA_STATUS_BAD_REQUEST;
    }
    if (line.size == 0) {
      head->size = (size_t)(rest.data - data);
      return check_body(head);
    }
    status = parse_field(line, head);
  }
  return status;
}
