/* SPDX-License-Identifier: MIT */
/*
 * /debug/pprof/NAME: parameters, statuses and messages as in Go's net/http/pprof. What differs: seconds has a limit, and
 * so has the number of requests that wait at a time.
 */
#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/log.h"
#include "halloc.h"
#include "serve/difference.h"
#include "serve/http_query.h"
#include "serve/http_routes.h"
#include "serve/http_status.h"
#include "serve/kinds.h"
#include "serve/profiles.h"
#include "serve/spans.h"

#define SECONDS_MAX 300
#define NAME_MAX_SIZE 32
#define REASON_MAX 128

static uint32_t waiting; /* atomic */

void ha_routes_after_fork_in_child(void) {
  ha_store_relaxed(&waiting, 0);
}

/* The last part of the path; "" if it is none that a profile could have. */
static void copy_name(struct ha_slice path, char name[NAME_MAX_SIZE]) {
  struct ha_slice rest = ha_slice_behind(path, sizeof HA_PPROF_ROOT - 1);
  size_t size = rest.size < NAME_MAX_SIZE ? rest.size : 0;
  memcpy(name, rest.data, size);
  name[size] = '\0';
}

static void fail_for(struct ha_answer *answer, const char *what, const char *why) {
  char reason[REASON_MAX];
  ha_format(reason, sizeof reason, "%s: %s", what, why);
  ha_answer_pprof_error(answer, HA_STATUS_INTERNAL, reason);
}

static void fail(struct ha_answer *answer, const char *what, int error) {
  if (error == -ENOTSUP) {
    ha_answer_pprof_error(answer, HA_STATUS_NOT_IMPLEMENTED, "this profile has no text form");
    return;
  }
  fail_for(answer, what, strerrordesc_np(-error));
}

/* Copies the file, so that the scratch heap does not wait for a slow reader. */
static void take_file(struct ha_answer *answer, struct ha_profile_file *file) {
  ha_body_append(&answer->body, file->data, file->size);
  ha_profile_discard(file);
}

static void put_snapshot(struct ha_answer *answer, const struct ha_kind *kind, int debug) {
  struct ha_profile_file file;
  int error = ha_profile_encode(kind->name, debug, &file);
  if (error != 0) {
    fail(answer, "failed to collect profile", error);
    return;
  }
  ha_answer_start(answer, HA_STATUS_OK, debug != 0 ? HA_TEXT_PLAIN : HA_OCTET_STREAM);
  if (debug == 0) {
    ha_format(answer->file_name, sizeof answer->file_name, "%s", kind->name);
  }
  take_file(answer, &file);
}

static void stop_waiting(void) {
  ha_add_relaxed(&waiting, -1);
}

/* False, and the answer says so, if too many wait already. */
static bool begin_waiting(struct ha_answer *answer) {
  if (ha_add_relaxed(&waiting, 1) < HA_WAITING_MAX) {
    return true;
  }
  stop_waiting();
  ha_answer_pprof_error(answer, HA_STATUS_UNAVAILABLE,
                        "too many profiles of a span of time are being collected");
  return false;
}

/* The answer, of which the rest is to be filled in, comes so much later. */
static void wait_for(struct ha_answer *answer, int64_t seconds) {
  ha_answer_start(answer, HA_STATUS_OK, HA_OCTET_STREAM);
  answer->wait_nanos = (uint64_t)seconds * HA_SECOND;
}

static bool is_too_long(struct ha_answer *answer, int64_t seconds) {
  char reason[REASON_MAX];
  if (seconds <= SECONDS_MAX) {
    return false;
  }
  ha_format(reason, sizeof reason, "invalid value for \"seconds\" - must be at most %d", SECONDS_MAX);
  ha_answer_pprof_error(answer, HA_STATUS_BAD_REQUEST, reason);
  return true;
}

static void begin_difference(struct ha_answer *answer, const struct ha_kind *kind,
                             const struct ha_http_request *request, const char *value) {
  int64_t seconds;
  struct ha_difference *difference;
  if (!ha_query_parse_number(value, &seconds) || seconds <= 0) {
    ha_answer_pprof_error(answer, HA_STATUS_BAD_REQUEST,
                          "invalid value for \"seconds\" - must be a positive integer");
  } else if (ha_query_number(request->query, "debug") != 0) {
    ha_answer_pprof_error(answer, HA_STATUS_BAD_REQUEST, "seconds and debug params are incompatible");
  } else if (!is_too_long(answer, seconds) && begin_waiting(answer)) {
    if (ha_difference_begin(kind, &difference) == 0) {
      wait_for(answer, seconds);
      answer->kind = kind;
      answer->difference = difference;
    } else {
      stop_waiting();
      ha_answer_pprof_error(answer, HA_STATUS_INTERNAL, "failed to collect profile");
    }
  }
}

static void begin_span(struct ha_answer *answer, const struct ha_span *span,
                       const struct ha_http_request *request) {
  char value[HA_QUERY_VALUE_MAX];
  int64_t seconds;
  if (!ha_query_value(request->query, "seconds", value) || !ha_query_parse_number(value, &seconds) ||
      seconds <= 0) {
    seconds = span->seconds;
  }
  if (is_too_long(answer, seconds) || !begin_waiting(answer)) {
    return;
  }
  int error = span->begin();
  if (error == 0) {
    wait_for(answer, seconds);
    answer->span = span;
    return;
  }
  stop_waiting();
  fail_for(answer, span->refusal, error == -EBUSY ? span->busy : strerrordesc_np(-error));
}

static void finish_difference(struct ha_answer *answer, const struct ha_kind *kind,
                              struct ha_difference *difference) {
  struct ha_profile_file file;
  if (ha_difference_finish(difference, &file) != 0) {
    ha_answer_pprof_error(answer, HA_STATUS_INTERNAL, "failed to compute delta");
    return;
  }
  ha_answer_start(answer, HA_STATUS_OK, HA_OCTET_STREAM);
  ha_format(answer->file_name, sizeof answer->file_name, "%s-delta", kind->name);
  take_file(answer, &file);
}

static void finish_span(struct ha_answer *answer, const struct ha_span *span) {
  struct ha_profile_file file;
  int error = span->end(&file);
  if (error != 0) {
    fail(answer, "failed to collect profile", error);
    return;
  }
  ha_answer_start(answer, HA_STATUS_OK, HA_OCTET_STREAM);
  ha_format(answer->file_name, sizeof answer->file_name, "%s", span->name);
  take_file(answer, &file);
}

void ha_answer_finish(struct ha_answer *answer) {
  stop_waiting();
  if (answer->difference != NULL) {
    finish_difference(answer, answer->kind, answer->difference);
  } else {
    finish_span(answer, answer->span);
  }
}

void ha_answer_discard(struct ha_answer *answer) {
  if (answer->wait_nanos != 0) {
    stop_waiting();
    if (answer->difference != NULL) {
      ha_difference_discard(answer->difference);
    } else {
      answer->span->cancel();
    }
  }
  ha_body_discard(&answer->body);
  memset(answer, 0, sizeof *answer);
}

static void answer_kind(struct ha_answer *answer, const struct ha_kind *kind,
                        const struct ha_http_request *request) {
  char seconds[HA_QUERY_VALUE_MAX];
  if (ha_query_value(request->query, "seconds", seconds) && seconds[0] != '\0') {
    begin_difference(answer, kind, request, seconds);
    return;
  }
  if (strcmp(kind->name, "heap") == 0 && ha_query_number(request->query, "gc") > 0) {
    hp_free_os_memory();
  }
  /* All text forms but 1 are the longest one. */
  int64_t debug = ha_query_number(request->query, "debug");
  put_snapshot(answer, kind, debug == 0 ? 0 : debug == 1 ? 1 : 2);
}

static void answer_name(struct ha_answer *answer, const char *name, const struct ha_http_request *request) {
  const struct ha_kind *kind = ha_kind_find(name);
  const struct ha_span *span = ha_span_find(name);
  if (kind != NULL) {
    answer_kind(answer, kind, request);
  } else if (span != NULL) {
    begin_span(answer, span, request);
  } else {
    ha_answer_pprof_error(answer, HA_STATUS_NOT_FOUND, "Unknown profile");
  }
}

void ha_route_pprof_profile(struct ha_answer *answer, const struct ha_http_request *request) {
  char name[NAME_MAX_SIZE];
  copy_name(request->path, name);
  answer_name(answer, name, request);
}

void ha_route_legacy_heap(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  put_snapshot(answer, ha_kind_find("heap"), 1);
}

void ha_route_legacy_profile(struct ha_answer *answer, const struct ha_http_request *request) {
  answer_name(answer, "profile", request);
}
