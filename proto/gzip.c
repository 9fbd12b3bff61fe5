/* SPDX-License-Identifier: MIT */
/*
 * The gzip stream over zlib, at its fastest level: profiles are mostly small numbers that compress well at
 * any level, and the time is the profiled process's own. Small pieces are gathered first, since a call of
 * deflate() costs more than the few bytes of one field. zlib allocates from the scratch heap and frees
 * nothing.
 */
#include "proto/gzip.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#define INPUT_SIZE ((size_t)32 << 10)
#define OUTPUT_STEP ((size_t)32 << 10)
/* zlib's way of asking for a gzip header around the largest window. */
#define GZIP_WINDOW_BITS (MAX_WBITS + 16)
/* zlib's own default. */
#define MEMORY_LEVEL 8

struct ha_gzip {
  z_stream stream;
  struct ha_buffer output;
  size_t gathered;
  unsigned char input[INPUT_SIZE];
};

static void *zlib_alloc(void *scratch, unsigned count, unsigned size) {
  return ha_scratch_zalloc(scratch, count, size);
}

static void zlib_free(void *scratch, void *block) {
  (void)scratch;
  (void)block;
}

struct ha_gzip *ha_gzip_new(struct ha_scratch *scratch) {
  struct ha_gzip *gzip = ha_scratch_alloc(scratch, sizeof(*gzip));
  if (gzip == NULL) {
    return NULL;
  }
  gzip->stream = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = scratch};
  gzip->gathered = 0;
  ha_buffer_init(&gzip->output, scratch);
  int result = deflateInit2(&gzip->stream, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW_BITS, MEMORY_LEVEL,
                            Z_DEFAULT_STRATEGY);
  return result == Z_OK ? gzip : NULL;
}

/* Compresses what is gathered. With room left in the output, zlib has taken all input and has nothing to add.
 */
static void flush_input(struct ha_gzip *gzip, int mode) {
  z_stream *stream = &gzip->stream;
  stream->next_in = gzip->input;
  stream->avail_in = (unsigned)gzip->gathered;
  do {
    char *end = ha_buffer_reserve(&gzip->output, OUTPUT_STEP);
    if (end == NULL) {
      return;
    }
    stream->next_out = (unsigned char *)end;
    stream->avail_out = OUTPUT_STEP;
    if (deflate(stream, mode) == Z_STREAM_ERROR) {
      gzip->output.error = -EIO;
    }
    gzip->output.size += OUTPUT_STEP - stream->avail_out;
  } while (stream->avail_out == 0);
  gzip->gathered = 0;
}

void ha_gzip_write(struct ha_gzip *gzip, const void *data, size_t size) {
  const unsigned char *from = data;
  while (size > 0 && gzip->output.error == 0) {
    size_t part = INPUT_SIZE - gzip->gathered;
    if (part > size) {
      part = size;
    }
    memcpy(gzip->input + gzip->gathered, from, part);
    gzip->gathered += part;
    from += part;
    size -= part;
    if (gzip->gathered == INPUT_SIZE) {
      flush_input(gzip, Z_NO_FLUSH);
    }
  }
}

int ha_gzip_finish(struct ha_gzip *gzip, struct ha_blob *ret_blob) {
  flush_input(gzip, Z_FINISH);
  deflateEnd(&gzip->stream);
  return ha_buffer_finish(&gzip->output, ret_blob);
}
