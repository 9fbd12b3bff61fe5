/* SPDX-License-Identifier: MIT */
/*
 * The same answers for a program's own server: the calling thread does what the loop does elsewhere, and sleeps where
 * that would wait.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "halloc.h"
#include "serve/http_answer.h"
#include "serve/http_parse.h"
#include "serve/http_status.h"

#define NUMBER_MAX 24

static void sleep_for(uint64_t nanos) {
  uint64_t until = ha_clock_monotonic() + nanos;
  struct timespec time = {(time_t)(until / HA_SECOND), (long)(until % HA_SECOND)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) {
  }
}

static int put_head(const struct ha_answer *answer, const struct hp_http_sink *sink) {
  char length[NUMBER_MAX];
  int result = sink->status != NULL ? sink->status(sink->arg, answer->status) : 0;
  if (result == 0 && sink->header != NULL) {
    result = ha_answer_fields(answer, sink->header, sink->arg);
  }
  if (result == 0 && sink->header != NULL) {
    ha_format(length, sizeof length, "%lu", answer->body.size);
    result = sink->header(sink->arg, "Content-Length", length);
  }
  return result;
}

static int deliver(const struct ha_answer *answer, bool has_body, const struct hp_http_sink *sink) {
  int result = put_head(answer, sink);
  if (result == 0 && has_body && answer->body.size > 0) {
    result = sink->write(sink->arg, answer->body.data, answer->body.size);
  }
  return result;
}

static void answer_request(struct ha_answer *answer, const struct ha_http_request *request) {
  ha_answer_begin(answer, request);
  if (answer->wait_nanos != 0) {
    sleep_for(answer->wait_nanos);
    ha_answer_finish(answer);
  }
  if (answer->body.has_failed) {
    ha_answer_line(answer, HA_STATUS_UNAVAILABLE, "no memory for the answer");
  }
}

HA_EXPORT int hp_http_handle(const char *method, const char *target, const struct hp_http_sink *sink) {
  int saved = errno, cancel_state;
  if (method == NULL || target == NULL || sink == NULL || sink->size < sizeof *sink || sink->write == NULL) {
    return -EINVAL;
  }
  struct ha_http_request request = {.method = ha_http_parse_method(ha_slice_of(method))};
  if (!ha_http_parse_target(ha_slice_of(target), &request)) {
    return -EINVAL;
  }
  request.body = (struct ha_slice){sink->body, sink->body != NULL ? sink->body_size : 0};
  struct ha_answer answer;
  memset(&answer, 0, sizeof answer);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  answer_request(&answer, &request);
  int result = deliver(&answer, request.method != HA_HTTP_HEAD, sink);
  ha_answer_discard(&answer);
  pthread_setcancelstate(cancel_state, NULL);
  errno = saved;
  return result;
}
