/* SPDX-License-Identifier: MIT */
/*
 * The rows are visited twice: for the addresses, which are then named, and for the events.
 */
#include "proto/trace.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "proto/frames.h"

#define PIECE_MAX 256
#define NANOS_PER_MICRO 1000
/* Of a stack; the outer ones are left out. */
#define FRAMES_MAX 32

enum { START, DURATION, THREAD, FORM }; /* values of a row */
enum { INSTANT, SPAN, NAME };           /* HA_TRACE_* of sampler/trace.h */

struct writer {
  const struct ha_profile *profile;
  struct ha_buffer text;
  struct ha_frames frames;
  struct ha_mappings mappings;
  bool has_events;
  int error;
};

static void put(struct writer *writer, const char *format, ...) HA_PRINTF(2, 3);

static void put(struct writer *writer, const char *format, ...) {
  char piece[PIECE_MAX];
  va_list args;
  va_start(args, format);
  size_t size = ha_vformat(piece, sizeof piece, format, args);
  va_end(args);
  ha_buffer_append(&writer->text, piece, size < sizeof piece ? size : sizeof piece - 1);
}

/* The inside of a JSON string; what is not printable UTF-8 becomes '?'. */
static void put_escaped(struct writer *writer, const char *text) {
  while (*text != '\0') {
    size_t size = ha_text_printable(text);
    if (*text == '"' || *text == '\\') {
      ha_buffer_append(&writer->text, "\\", 1);
    }
    ha_buffer_append(&writer->text, size != 0 ? text : "?", size != 0 ? size : 1);
    text += size != 0 ? size : 1;
  }
}

static void put_frame(struct writer *writer, uintptr_t return_address) {
  const struct ha_frame *frame = ha_frames_find(&writer->frames, ha_frame_pc(return_address));
  if (frame->name != NULL) {
    put_escaped(writer, frame->name);
  } else {
    put(writer, "0x%lx", (unsigned long)frame->pc);
  }
}

static void put_stack(struct writer *writer, const struct ha_row *row) {
  put(writer, "\"stack\":\"");
  for (uint32_t i = 0; i < row->frame_count && i < FRAMES_MAX; i++) {
    put(writer, i != 0 ? ";" : "");
    put_frame(writer, row->frames[i]);
  }
  put(writer, "\"");
}

static void put_labels(struct writer *writer, const struct ha_row *row, bool has_before) {
  const char *key, *value;
  for (uint32_t i = 0; writer->profile->label(row->label_set, i, &key, &value); i++) {
    put(writer, "%s\"label.", has_before ? "," : "");
    put_escaped(writer, key);
    put(writer, "\":\"");
    put_escaped(writer, value);
    put(writer, "\"");
    has_before = true;
  }
}

static void put_arguments(struct writer *writer, const struct ha_row *row) {
  bool has_before = row->frame_count != 0;
  put(writer, "\"args\":{");
  if (has_before) {
    put_stack(writer, row);
  }
  for (uint32_t i = 0; i < row->number_count; i++) {
    put(writer, "%s\"%s\":%ld", has_before ? "," : "", row->numbers[i].key, (long)row->numbers[i].value);
    has_before = true;
  }
  put_labels(writer, row, has_before);
  put(writer, "}}");
}

/* Microseconds with three places. */
static void put_time(struct writer *writer, const char *key, int64_t nanos) {
  unsigned long rest = (unsigned long)(nanos % NANOS_PER_MICRO);
  put(writer, "\"%s\":%ld.%s%s%lu,", key, (long)(nanos / NANOS_PER_MICRO), rest < 100 ? "0" : "",
      rest < 10 ? "0" : "", rest);
}

static void put_place(struct writer *writer, const struct ha_row *row) {
  put(writer, "\"pid\":%d,\"tid\":%ld,", (int)getpid(), (long)row->values[THREAD]);
}

static void put_event(const struct ha_row *row, void *arg) {
  struct writer *writer = arg;
  put(writer, writer->has_events ? ",\n" : "\n");
  writer->has_events = true;
  if (row->values[FORM] == NAME) {
    put(writer, "{\"name\":\"thread_name\",\"ph\":\"M\",");
    put_place(writer, row);
    put(writer, "\"args\":{\"name\":\"");
    put_escaped(writer, row->title);
    put(writer, "\"}}");
    return;
  }
  put(writer, "{\"name\":\"%s\",%s", row->title,
      row->values[FORM] == SPAN ? "\"ph\":\"X\"," : "\"ph\":\"i\",\"s\":\"t\",");
  put_time(writer, "ts", row->values[START]);
  if (row->values[FORM] == SPAN) {
    put_time(writer, "dur", row->values[DURATION]);
  }
  put_place(writer, row);
  put_arguments(writer, row);
}

static void keep_frames(const struct ha_row *row, void *arg) {
  struct writer *writer = arg;
  uint32_t index;
  for (uint32_t i = 0; i < row->frame_count && i < FRAMES_MAX && writer->error == 0; i++) {
    writer->error = ha_frames_intern(&writer->frames, ha_frame_pc(row->frames[i]), &index);
  }
}

static int find_names(struct writer *writer, struct ha_scratch *scratch) {
  writer->profile->visit(writer->profile, keep_frames, writer);
  if (writer->error == 0) {
    writer->error = ha_mappings_read(scratch, &writer->mappings);
  }
  return writer->error != 0 ? writer->error : ha_frames_resolve(&writer->frames, &writer->mappings);
}

int ha_trace_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob) {
  struct writer writer = {.profile = profile};
  ha_buffer_init(&writer.text, scratch);
  ha_frames_init(&writer.frames, scratch);
  int error = find_names(&writer, scratch);
  if (error != 0) {
    return error;
  }
  put(&writer, "{\"displayTimeUnit\":\"ns\",\"otherData\":{");
  for (uint32_t i = 0; i < profile->comment_count; i++) {
    put(&writer, "%s\"comment%u\":\"", i != 0 ? "," : "", i);
    put_escaped(&writer, profile->comments[i]);
    put(&writer, "\"");
  }
  put(&writer, "},\"traceEvents\":[");
  profile->visit(profile, put_event, &writer);
  put(&writer, "\n]}\n");
  return ha_buffer_finish(&writer.text, ret_blob);
}
