/* SPDX-License-Identifier: MIT */
/*
 * Bytes that are finished (a blob) and bytes that still grow (a buffer), both in scratch memory.
 *
 * A buffer doubles when it is full, so appending is amortized constant. The first failure sticks: later
 * calls do nothing and ha_buffer_finish() reports it, which spares its users a check after every line. A blob
 * dies with the scratch heap it came from.
 */
#ifndef HA_PROTO_BLOB_H
#define HA_PROTO_BLOB_H

#include "proto/scratch.h"

struct ha_blob {
  void *data;
  size_t size;
};

struct ha_buffer {
  struct ha_scratch *scratch;
  char *data;
  size_t size;
  size_t capacity;
  int error; /* 0 or the first failure */
};

void ha_buffer_init(struct ha_buffer *buffer, struct ha_scratch *scratch);
/* Makes room for size more bytes behind buffer->size; NULL after a failure. */
char *ha_buffer_reserve(struct ha_buffer *buffer, size_t size);
void ha_buffer_append(struct ha_buffer *buffer, const void *data, size_t size);
/* 0 and the blob, or the first failure. */
int ha_buffer_finish(const struct ha_buffer *buffer, struct ha_blob *ret_blob);
/*
 * Appends a file's content; its size need not be known (files of /proc say 0). 0 or -errno; only a lack of
 * memory makes the buffer fail too.
 */
int ha_buffer_read_file(struct ha_buffer *buffer, const char *path);

#endif
