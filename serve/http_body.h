/* SPDX-License-Identifier: MIT */
/*
 * The bytes of an answer or a request, growing, in memory mapped for them: not of the program's heap, absent from
 * forked children, and gone when the body is discarded.
 *
 * The first failure to grow sticks, so that only the end needs a check. Costs at least one OS page.
 */
#ifndef HA_SERVE_HTTP_BODY_H
#define HA_SERVE_HTTP_BODY_H

#include "base/compiler.h"

/* All zero is empty. One thread at a time. */
struct ha_body {
  char *data;
  size_t size;
  size_t capacity;
  bool has_failed; /* something did not fit; the body is incomplete */
};

/* Room for so many bytes in all. */
bool ha_body_reserve(struct ha_body *body, size_t capacity);
void ha_body_append(struct ha_body *body, const void *data, size_t size);
void ha_body_text(struct ha_body *body, const char *text);
/* As ha_format. */
void ha_body_format(struct ha_body *body, const char *format, ...) HA_PRINTF(2, 3);
/* With & < > " ' as HTML wants them. */
void ha_body_html(struct ha_body *body, const char *text);
/* Back to all zero. */
void ha_body_discard(struct ha_body *body);

/* Bytes mapped for all bodies now. */
size_t ha_body_total(void);
void ha_body_after_fork_in_child(void);

#endif
