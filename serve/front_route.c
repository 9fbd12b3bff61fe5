/* SPDX-License-Identifier: MIT */
/*
 * /: the live page, or where it cannot be loaded a list of what else there is.
 */
#include "serve/http_routes.h"
#include "serve/http_status.h"
#include "serve/live_page.h"
#include "serve/pprof_library.h"

static void put_links(struct ha_body *body, const char *reason) {
  ha_body_text(body,
               "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>halloc</title>\n</head>\n<body>\n"
               "<h1>halloc " HA_VERSION "</h1>\n<ul>\n"
               "<li><a href=\"/debug/pprof/\">/debug/pprof/</a> profiles, for go tool pprof</li>\n"
               "<li><a href=\"/metrics\">/metrics</a> for Prometheus</li>\n"
               "<li><a href=\"/memstats\">/memstats</a> statistics as JSON</li>\n"
               "</ul>\n<p>The live page cannot be shown, since " HA_PPROF_LIBRARY_NAME " cannot be used: ");
  ha_body_html(body, reason);
  ha_body_text(body, "</p>\n</body>\n</html>\n");
}

void ha_route_front(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  ha_answer_start(answer, HA_STATUS_OK, HA_TEXT_HTML);
  const char *reason;
  const struct ha_live_page *page = ha_live_page_find(&reason);
  if (page == NULL) {
    put_links(&answer->body, reason);
    return;
  }
  answer->encoding = "gzip";
  answer->policy = page->policy;
  ha_body_append(&answer->body, page->gzip, page->size);
}

void ha_route_front_without_token(struct ha_answer *answer, const struct ha_http_request *request) {
  ha_route_front(answer, request);
  answer->status = HA_STATUS_UNAUTHORIZED;
}
