/* SPDX-License-Identifier: MIT */
/*
 * The checks in the order of the header.
 */
#include "serve/http_guard.h"

#include <arpa/inet.h>
#include <string.h>

#include "serve/http_status.h"

#define SCHEME "bearer"

static bool is_port(struct ha_slice text) {
  for (size_t i = 0; i < text.size; i++) {
    if (text.data[i] < '0' || text.data[i] > '9') {
      return false;
    }
  }
  return true;
}

/* Cuts ":port" off the end. False: what is behind the colon is none. */
static bool cut_port(struct ha_slice *host) {
  size_t size = host->size;
  while (size > 0 && host->data[size - 1] != ':' && host->data[size - 1] != ']') {
    size--;
  }
  if (size == 0 || host->data[size - 1] == ']') {
    return size == 0 || size == host->size;
  }
  bool is_good = is_port(ha_slice_behind(*host, size));
  host->size = size - 1;
  return is_good;
}

static bool is_number_or_localhost(struct ha_slice host) {
  char text[INET6_ADDRSTRLEN + 2];
  unsigned char ip[16];
  if (!cut_port(&host) || host.size < 2 || host.size >= sizeof text) {
    return false;
  }
  bool is_bracketed = host.data[0] == '[' && host.data[host.size - 1] == ']';
  size_t edge = is_bracketed ? 1 : 0;
  memcpy(text, host.data + edge, host.size - 2 * edge);
  text[host.size - 2 * edge] = '\0';
  return inet_pton(is_bracketed ? AF_INET6 : AF_INET, text, ip) == 1 ||
         ha_slice_equals_nocase(host, "localhost");
}

/* Whether the page is one of ours: its origin is http:// and what the Host field says. */
static bool is_own_origin(const struct ha_http_head *head) {
  static const char scheme[] = "http://";
  const size_t size = sizeof scheme - 1;
  return ha_slice_begins(head->origin, scheme) && head->origin.size - size == head->host.size &&
         memcmp(head->origin.data + size, head->host.data, head->host.size) == 0;
}

static bool is_foreign(const struct ha_http_head *head) {
  if (head->origin.data != NULL && !is_own_origin(head)) {
    return true;
  }
  return head->fetch_site.data != NULL && !ha_slice_equals(head->fetch_site, "same-origin") &&
         !ha_slice_equals(head->fetch_site, "none");
}

/* What the time tells is the length of what was given. */
static bool is_token(struct ha_slice given, const char *token) {
  size_t size = strlen(token);
  unsigned different = size != given.size;
  for (size_t i = 0; i < given.size; i++) {
    different |= (unsigned)(unsigned char)given.data[i] ^ (unsigned char)token[i % size];
  }
  return different == 0;
}

static bool has_token(struct ha_slice authorization, const char *token) {
  struct ha_slice scheme = {authorization.data, sizeof SCHEME - 1};
  if (authorization.size <= scheme.size || !ha_slice_equals_nocase(scheme, SCHEME) ||
      authorization.data[scheme.size] != ' ') {
    return false;
  }
  struct ha_slice given = ha_slice_behind(authorization, scheme.size);
  while (given.size > 0 && given.data[0] == ' ') {
    given = ha_slice_behind(given, 1);
  }
  return is_token(given, token);
}

int ha_http_admit(const struct ha_http_guard *guard, const struct ha_http_head *head,
                  const char **ret_reason) {
  bool has_guard_token = guard->token[0] != '\0';
  if (head->host.data == NULL) {
    *ret_reason = "the request has no Host";
    return HA_STATUS_FORBIDDEN;
  }
  if (!has_guard_token && !guard->is_unix_socket && !is_number_or_localhost(head->host)) {
    *ret_reason = "the Host must be an IP address or localhost";
    return HA_STATUS_FORBIDDEN;
  }
  if (is_foreign(head)) {
    *ret_reason = "requests from web pages of other origins are refused";
    return HA_STATUS_FORBIDDEN;
  }
  if (has_guard_token && !has_token(head->authorization, guard->token)) {
    *ret_reason = "the request needs Authorization: Bearer and the token of HALLOC_HTTP_TOKEN";
    return HA_STATUS_UNAUTHORIZED;
  }
  return 0;
}
