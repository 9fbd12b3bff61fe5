/* SPDX-License-Identifier: MIT */
/*
 * Reading a file (also a pipe, so its size is not known before) and inflating it. Both grow one buffer up to
 * the limit; the compressed form is freed before the caller sees the result.
 */
#include "tools/profile_load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tools/report.h"

#define READ_STEP ((size_t)1 << 16)
#define GZIP_MAGIC_0 0x1f
#define GZIP_MAGIC_1 0x8b
/* zlib: 15 bits of window, and 16 more to mean a gzip header. */
#define INFLATE_GZIP_BITS (15 + 16)

static const char too_large[] = "expected at most 1 GiB of profile, this one is larger";

struct buffer {
  unsigned char *bytes;
  size_t size, capacity;
};

static void make_room(struct buffer *buffer) {
  buffer->bytes = ha_array_grow(buffer->bytes, &buffer->capacity, buffer->size + READ_STEP, 1);
}

static const char *read_all(int fd, struct buffer *buffer) {
  for (;;) {
    make_room(buffer);
    ssize_t got = read(fd, buffer->bytes + buffer->size, READ_STEP);
    if (got == 0)
      return NULL;
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return strerror(errno);
    buffer->size += (size_t)got;
    if (buffer->size > HA_PROFILE_BYTES_MAX)
      return too_large;
  }
}

static const char *read_file(const char *path, struct buffer *buffer) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return strerror(errno);
  const char *problem = read_all(fd, buffer);
  close(fd);
  return problem;
}

static const char *inflate_problem(int status) {
  if (status == Z_MEM_ERROR)
    return "expected more memory than the system grants";
  return status == Z_BUF_ERROR ? "expected a whole gzip file, this one is truncated"
                               : "expected gzip data, this file is damaged";
}

/* Inflates until the input is used up; a member may end exactly there. */
static const char *inflate_members(z_stream *stream, struct buffer *plain) {
  for (;;) {
    make_room(plain);
    stream->next_out = plain->bytes + plain->size;
    stream->avail_out = (uInt)READ_STEP;
    int status = inflate(stream, Z_NO_FLUSH);
    plain->size += READ_STEP - stream->avail_out;
    if (plain->size > HA_PROFILE_BYTES_MAX)
      return too_large;
    if (status == Z_STREAM_END && stream->avail_in == 0)
      return NULL;
    if (status == Z_STREAM_END)
      status = inflateReset(stream);
    if (status != Z_OK)
      return inflate_problem(status);
  }
}

static const char *gunzip(const struct buffer *packed, struct buffer *plain) {
  z_stream stream = {0};
  if (inflateInit2(&stream, INFLATE_GZIP_BITS) != Z_OK)
    return inflate_problem(Z_MEM_ERROR);
  stream.next_in = packed->bytes;
  stream.avail_in = (uInt)packed->size;
  const char *problem = inflate_members(&stream, plain);
  inflateEnd(&stream);
  return problem;
}

const char *ha_profile_load(const char *path, struct ha_file_bytes *ret_bytes) {
  struct buffer file = {NULL, 0, 0}, plain = {NULL, 0, 0};
  const char *problem = read_file(path, &file);
  if (problem == NULL && file.size == 0)
    problem = "expected a profile, this file is empty";
  if (problem == NULL && file.size > 1 && file.bytes[0] == GZIP_MAGIC_0 && file.bytes[1] == GZIP_MAGIC_1) {
    problem = gunzip(&file, &plain);
    free(file.bytes);
    file = plain;
  }
  if (problem != NULL) {
    free(file.bytes);
    return problem;
  }
  *ret_bytes = (struct ha_file_bytes){file.bytes, file.size};
  return NULL;
}
