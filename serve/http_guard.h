/* SPDX-License-Identifier: MIT */
/*
 * Who may ask: what keeps web pages, and whoever lacks the token, from reading the admin port.
 *
 * - A page whose name was rebound to this address still sends its own name as Host. So without a token the Host must be
 *   a number or "localhost". With a token the name does not matter, since browsers do not know the token. A Unix
 *   socket cannot be reached by browsers.
 * - A request that a page of another origin makes says so in Origin or Sec-Fetch-Site, and is refused always.
 * - With a token, every request must bring it. It is compared in constant time.
 */
#ifndef HA_SERVE_HTTP_GUARD_H
#define HA_SERVE_HTTP_GUARD_H

#include "serve/http_parse.h"

struct ha_http_guard {
  const char *token;   /* "": none is wanted */
  bool is_unix_socket; /* of the listener */
};

/* 0, or the status to refuse the request with; *ret_reason is then a line that says why. */
int ha_http_admit(const struct ha_http_guard *guard, const struct ha_http_head *head,
                  const char **ret_reason);

#endif
