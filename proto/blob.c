/* SPDX-License-Identifier: MIT */
/*
 * Growing buffers. The bytes are one block of scratch memory, doubled when full; a file is read with plain
 * read(2) straight into the free end.
 */
#include "proto/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* One step of reading, and the smallest buffer. The kernel hands out /proc/self/maps a page at a time. */
#define STEP ((size_t)16 << 10)

void ha_buffer_init(struct ha_buffer *buffer, struct ha_scratch *scratch) {
  *buffer = (struct ha_buffer){.scratch = scratch};
}

char *ha_buffer_reserve(struct ha_buffer *buffer, size_t size) {
  if (buffer->error != 0) {
    return NULL;
  }
  if (size > buffer->capacity - buffer->size) {
    size_t larger = buffer->capacity == 0 ? STEP : buffer->capacity * 2;
    if (larger - buffer->size < size) {
      larger = buffer->size + size;
    }
    char *data = ha_scratch_grow(buffer->scratch, buffer->data, buffer->capacity, larger);
    if (data == NULL) {
      buffer->error = -ENOMEM;
      return NULL;
    }
    buffer->data = data;
    buffer->capacity = larger;
  }
  return buffer->data + buffer->size;
}

void ha_buffer_append(struct ha_buffer *buffer, const void *data, size_t size) {
  char *end = ha_buffer_reserve(buffer, size);
  if (end == NULL || size == 0) {
    return;
  }
  memcpy(end, data, size);
  buffer->size += size;
}

int ha_buffer_finish(const struct ha_buffer *buffer, struct ha_blob *ret_blob) {
  if (buffer->error == 0) {
    *ret_blob = (struct ha_blob){.data = buffer->data, .size = buffer->size};
  }
  return buffer->error;
}

int ha_buffer_read_file(struct ha_buffer *buffer, const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return -errno;
  }
  int error = 0;
  ssize_t got = 1;
  while (got != 0 && error == 0) {
    char *end = ha_buffer_reserve(buffer, STEP);
    if (end == NULL) {
      error = buffer->error;
      break;
    }
    got = read(fd, end, STEP);
    if (got > 0) {
      buffer->size += (size_t)got;
    } else if (got < 0 && errno != EINTR) {
      error = -errno;
    }
  }
  close(fd);
  return error;
}
