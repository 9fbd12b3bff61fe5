/* SPDX-License-Identifier: MIT */
/*
 * An answer: status, header fields and body; or the promise of one after some time.
 *
 * A request for a profile of a span of time begins something and waits. Whoever asked (the server's loop, or the thread
 * in hp_http_handle) lets that time pass its own way and then finishes the answer, or discards it when nobody wants it
 * any more. An answer is begun, finished and discarded on one thread, since what it holds belongs to that.
 */
#ifndef HA_SERVE_HTTP_ANSWER_H
#define HA_SERVE_HTTP_ANSWER_H

#include "serve/http_body.h"
#include "serve/http_request.h"

#define HA_ANSWER_FILE_MAX 48

struct ha_difference;
struct ha_kind;
struct ha_span;

struct ha_answer {
  int status;
  const char *content_type;
  const char *encoding;               /* of the body: "gzip"; NULL: none */
  const char *policy;                 /* what a page of ours may do; NULL: nothing */
  const char *allow;                  /* for 405: the methods; else NULL */
  const char *location;               /* for 301; else NULL */
  bool is_pprof_error;                /* X-Go-Pprof: 1, so that pprof shows the body */
  char file_name[HA_ANSWER_FILE_MAX]; /* "": not an attachment */
  struct ha_body body;
  uint64_t wait_nanos;        /* 0: complete. Else ha_answer_finish is to be called so much later */
  const struct ha_kind *kind; /* while it waits for a difference of it */
  struct ha_difference *difference;
  const struct ha_span *span; /* while it waits for the end of it */
};

/* Answers the request, or begins to. Any path, any method. */
void ha_answer_begin(struct ha_answer *answer, const struct ha_http_request *request);

/* After wait_nanos: completes the answer. */
void ha_answer_finish(struct ha_answer *answer);

/* Gives back what the answer holds; also while it waits. */
void ha_answer_discard(struct ha_answer *answer);

/* Calls fn for each header field but Content-Length and Connection, until it returns other than 0; returns that. */
int ha_answer_fields(const struct ha_answer *answer,
                     int (*fn)(void *arg, const char *name, const char *value), void *arg);

/* A new answer of this kind; the body is still to come. */
void ha_answer_start(struct ha_answer *answer, int status, const char *content_type);

/* A whole answer: one line of plain text. */
void ha_answer_line(struct ha_answer *answer, int status, const char *line);

/* As ha_answer_line for errors of profiles, as Go has them. Keeps nothing of what the answer was. */
void ha_answer_pprof_error(struct ha_answer *answer, int status, const char *line);

#define HA_TEXT_PLAIN "text/plain; charset=utf-8"
#define HA_TEXT_HTML "text/html; charset=utf-8"
#define HA_OCTET_STREAM "application/octet-stream"

#endif
