/* SPDX-License-Identifier: MIT */
/*
 * A request, as the parser found it in the bytes of a connection or a caller of hp_http_handle gave it. All texts
 * point into what the owner of the request keeps.
 */
#ifndef HA_SERVE_HTTP_REQUEST_H
#define HA_SERVE_HTTP_REQUEST_H

#include "base/compiler.h"

/* A text that is not terminated. data is NULL if there is none. */
struct ha_slice {
  const char *data;
  size_t size;
};

enum ha_http_method { HA_HTTP_GET, HA_HTTP_HEAD, HA_HTTP_POST, HA_HTTP_OTHER };

struct ha_http_request {
  enum ha_http_method method;
  struct ha_slice path;  /* before the '?', not decoded */
  struct ha_slice query; /* behind it */
  struct ha_slice body;
};

HA_INLINE struct ha_slice ha_slice_of(const char *text) {
  return (struct ha_slice){text, __builtin_strlen(text)};
}

HA_INLINE bool ha_slice_equals(struct ha_slice slice, const char *text) {
  size_t size = __builtin_strlen(text);
  return slice.data != NULL && slice.size == size && __builtin_memcmp(slice.data, text, size) == 0;
}

HA_INLINE bool ha_slice_begins(struct ha_slice slice, const char *text) {
  size_t size = __builtin_strlen(text);
  return slice.size >= size && __builtin_memcmp(slice.data, text, size) == 0;
}

/* Without regard to case, of ASCII letters. text is in lower case. */
bool ha_slice_equals_nocase(struct ha_slice slice, const char *text);

/* What is left of a slice behind its first bytes. */
HA_INLINE struct ha_slice ha_slice_behind(struct ha_slice slice, size_t size) {
  return (struct ha_slice){slice.data + size, slice.size - size};
}

#endif
