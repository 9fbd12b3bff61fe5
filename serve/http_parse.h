/* SPDX-License-Identifier: MIT */
/*
 * The head of an HTTP/1 request: request line and header fields, strictly.
 *
 * Lines end in CR LF. Folded fields, blanks before a colon, control characters, bytes beyond ASCII in the target, and
 * a second Host, Content-Length, Authorization or Origin are refused. Fields that mean nothing here are skipped.
 *
 * Pure: reads the bytes, keeps nothing, allocates nothing. One pass over at most HA_HTTP_HEAD_MAX bytes.
 */
#ifndef HA_SERVE_HTTP_PARSE_H
#define HA_SERVE_HTTP_PARSE_H

#include "serve/http_request.h"

#define HA_HTTP_HEAD_MAX ((size_t)8192)
#define HA_HTTP_TARGET_MAX ((size_t)2048)
#define HA_HTTP_BODY_MAX ((size_t)1024 * 1024)

struct ha_http_head {
  size_t size; /* bytes of the head, with the empty line */
  struct ha_http_request request;
  struct ha_slice target;
  struct ha_slice host; /* data NULL: there is no such field */
  struct ha_slice origin;
  struct ha_slice fetch_site; /* Sec-Fetch-Site */
  struct ha_slice authorization;
  size_t body_size;
  bool has_body_size;
  bool is_chunked; /* there is a Transfer-Encoding */
  bool keeps_alive;
  bool expects_continue;
};

/* The head is not complete. */
#define HA_HTTP_MORE (-1)

/* 0 and the head; HA_HTTP_MORE; or the status to refuse the request with. */
int ha_http_parse(const char *data, size_t size, struct ha_http_head *head);

/* Splits a target of the form /path?query; false: it is of another form. */
bool ha_http_parse_target(struct ha_slice target, struct ha_http_request *request);

enum ha_http_method ha_http_parse_method(struct ha_slice method);

#endif
