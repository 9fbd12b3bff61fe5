/* SPDX-License-Identifier: MIT */
/*
 * Growing maps twice as much and copies.
 */
#include "serve/http_body.h"

#include <string.h>

#include "base/atomic.h"
#include "base/log.h"
#include "base/os.h"

static size_t total; /* atomic */

static void unmap(struct ha_body *body) {
  if (body->data != NULL) {
    ha_os_unmap(body->data, body->capacity);
    ha_add_relaxed(&total, -body->capacity);
  }
}

bool ha_body_reserve(struct ha_body *body, size_t capacity) {
  if (capacity <= body->capacity || body->has_failed) {
    return !body->has_failed;
  }
  size_t wanted = capacity > 2 * body->capacity ? capacity : 2 * body->capacity;
  wanted = ha_align_up(wanted, HA_OS_PAGE);
  char *data = ha_os_map(wanted);
  if (data == NULL) {
    body->has_failed = true;
    return false;
  }
  ha_os_keep_from_children(data, wanted);
  if (body->size > 0) {
    memcpy(data, body->data, body->size);
  }
  unmap(body);
  ha_add_relaxed(&total, wanted);
  body->data = data;
  body->capacity = wanted;
  return true;
}

void ha_body_append(struct ha_body *body, const void *data, size_t size) {
  if (size > 0 && ha_body_reserve(body, body->size + size)) {
    memcpy(body->data + body->size, data, size);
    body->size += size;
  }
}

void ha_body_text(struct ha_body *body, const char *text) {
  ha_body_append(body, text, strlen(text));
}

void ha_body_format(struct ha_body *body, const char *format, ...) {
  va_list args;
  va_start(args, format);
  size_t room = body->capacity - body->size;
  size_t length = ha_vformat(room > 0 ? body->data + body->size : NULL, room, format, args);
  /* The formatter ends with a NUL, which needs room too. */
  if (length >= room && ha_body_reserve(body, body->size + length + 1)) {
    ha_vformat(body->data + body->size, body->capacity - body->size, format, args);
  }
  va_end(args);
  body->size += body->has_failed ? 0 : length;
}

void ha_body_html(struct ha_body *body, const char *text) {
  static const char special[] = "&<>\"'";
  static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
  while (*text != '\0') {
    size_t plain = strcspn(text, special);
    ha_body_append(body, text, plain);
    text += plain;
    if (*text != '\0') {
      ha_body_text(body, entities[strchr(special, *text++) - special]);
    }
  }
}

void ha_body_discard(struct ha_body *body) {
  unmap(body);
  *body = (struct ha_body){NULL, 0, 0, false};
}

size_t ha_body_total(void) {
  return ha_load_relaxed(&total);
}

void ha_body_after_fork_in_child(void) {
  ha_store_relaxed(&total, 0);
}
