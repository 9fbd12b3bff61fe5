/* SPDX-License-Identifier: MIT */
/*
 * One line for each path. Paths are compared as they came, byte by byte: nothing is decoded or made simpler, and no
 * part of a request ever becomes the name of a file.
 */
#include "serve/http_routes.h"

#include "serve/http_status.h"
#include "serve/memstats_text.h"
#include "alloc/stats.h"

struct route {
  const char *path;
  ha_route_fn *handle;
  bool takes_post;
};

static const struct route routes[] = {
    {"/", ha_route_front, false},
    {"/metrics", ha_route_metrics, false},
    {"/memstats", ha_route_memstats, false},
    {HA_PPROF_ROOT, ha_route_pprof_index, false},
    {HA_PPROF_ROOT "cmdline", ha_route_pprof_cmdline, false},
    {HA_PPROF_ROOT "symbol", ha_route_pprof_symbol, true},
    {"/pprof/heap", ha_route_legacy_heap, false},
    {"/pprof/profile", ha_route_legacy_profile, false},
    {"/pprof/cmdline", ha_route_legacy_program, false},
    {"/pprof/symbol", ha_route_pprof_symbol, true},
};

static const struct route profile_route = {HA_PPROF_ROOT, ha_route_pprof_profile, false};

static const struct route *find(struct ha_slice path) {
  for (size_t i = 0; i < HA_ARRAY_LEN(routes); i++) {
    if (ha_slice_equals(path, routes[i].path)) {
      return &routes[i];
    }
  }
  return ha_slice_begins(path, HA_PPROF_ROOT) ? &profile_route : NULL;
}

/* As Go's ServeMux does for a directory without its slash; the page's links are relative. */
static void move_to_index(struct ha_answer *answer) {
  ha_answer_start(answer, HA_STATUS_MOVED, HA_TEXT_HTML);
  answer->location = HA_PPROF_ROOT;
  ha_body_text(&answer->body, "<a href=\"" HA_PPROF_ROOT "\">Moved Permanently</a>.\n\n");
}

static void refuse_method(struct ha_answer *answer, const struct route *route) {
  ha_answer_line(answer, HA_STATUS_METHOD, "Method Not Allowed");
  answer->allow = route->takes_post ? "GET, HEAD, POST" : "GET, HEAD";
}

void ha_answer_begin(struct ha_answer *answer, const struct ha_http_request *request) {
  const struct route *route = find(request->path);
  bool is_get = request->method == HA_HTTP_GET || request->method == HA_HTTP_HEAD;
  if (route == NULL && ha_slice_equals(request->path, "/debug/pprof")) {
    move_to_index(answer);
  } else if (route == NULL) {
    ha_answer_line(answer, HA_STATUS_NOT_FOUND, "404 page not found");
  } else if (!is_get && !(route->takes_post && request->method == HA_HTTP_POST)) {
    refuse_method(answer, route);
  } else {
    route->handle(answer, request);
  }
}

void ha_route_memstats(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  char text[HA_MEMSTATS_TEXT_MAX];
  struct hp_memstats stats;
  ha_stats_read(&stats);
  size_t length = ha_memstats_json(&stats, text, sizeof text);
  ha_answer_start(answer, HA_STATUS_OK, "application/json");
  ha_body_append(&answer->body, text, length);
  ha_body_text(&answer->body, "\n");
}
