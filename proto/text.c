/* SPDX-License-Identifier: MIT */
/*
 * Writing the text form. The rows are visited once and kept, because the totals stand in the first line and
 * the rows are sorted. Names are found as for the protobuf form.
 *
 * Two rules come from the readers. A pair with no blocks but some bytes is a syntax error to pprof, so its
 * bytes are written as 0. And pprof takes a profile whose two totals are equal for one without allocation
 * columns; the bytes of all blocks in the first line are then one more than the truth, as in Go.
 */
#include "proto/text.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "proto/frames.h"
#include "proto/intern.h"
#include "proto/trace.h"
#include "base/sort.h"

/* Beyond this much text, rows come without comments: nobody reads that far, and parsers skip them. */
#define COMMENTS_MAX ((size_t)32 << 20)
/* Longest formatted piece: five numbers of 20 digits and what stands between them. */
#define PIECE_MAX 256

/* The order of a heap profile's values. */
enum value { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, VALUE_COUNT };

/* Of another profile there is one. */
static const enum value counted = INUSE_SPACE;
/* But for contentions, beside their delay. */
static const enum value contentions = ALLOC_OBJECTS;

struct kept_row {
  const uintptr_t *frames;
  uint32_t frame_count;
  uint32_t label_set;
  int64_t values[VALUE_COUNT];
  const char *title; /* of a dump, as the next */
  uintptr_t creator;
  struct ha_row_number number; /* what tells the row from others of the site; key NULL: nothing */
};

struct writer {
  const struct ha_profile *profile;
  uint32_t shown; /* place of the only value, if it is not a heap profile; kept in `counted` */
  struct ha_buffer text;
  struct ha_frames frames;
  struct ha_mappings mappings;
  const char **paths; /* printable, by mapping */
  struct kept_row *rows;
  uint32_t row_count;
  uint32_t row_capacity;
  int64_t totals[VALUE_COUNT];
  int error; /* 0 or the first failure while rows are kept */
};

static void put_text(struct writer *writer, const char *text) {
  ha_buffer_append(&writer->text, text, strlen(text));
}

static void put_address(struct writer *writer, uintptr_t address) {
  char piece[PIECE_MAX];
  ha_buffer_append(&writer->text, piece, ha_format(piece, sizeof(piece), "0x%lx", (unsigned long)address));
}

static void put_number(struct writer *writer, int64_t number) {
  char piece[PIECE_MAX];
  ha_buffer_append(&writer->text, piece, ha_format(piece, sizeof(piece), "%lld", (long long)number));
}

/* The four numbers of a row or of the first line, up to the '@'. */
static void put_values(struct writer *writer, const int64_t *values) {
  char piece[PIECE_MAX];
  size_t size = ha_format(piece, sizeof(piece), "%lld: %lld [%lld: %lld] @", (long long)values[INUSE_OBJECTS],
                          (long long)values[INUSE_SPACE], (long long)values[ALLOC_OBJECTS],
                          (long long)values[ALLOC_SPACE]);
  ha_buffer_append(&writer->text, piece, size);
}

static void take_pair(struct kept_row *kept, const struct ha_row *row, enum value objects, enum value space) {
  bool has_blocks = row->sampled[objects] > 0;
  kept->values[objects] = has_blocks ? row->sampled[objects] : 0;
  kept->values[space] = has_blocks && row->sampled[space] > 0 ? row->sampled[space] : 0;
}

static int keep_frames(struct writer *writer, const struct ha_row *row) {
  uint32_t index;
  int error = 0;
  for (uint32_t i = 0; i < row->frame_count && error == 0; i++) {
    error = ha_frames_intern(&writer->frames, ha_frame_pc(row->frames[i]), &index);
  }
  return row->creator != 0 && error == 0
             ? ha_frames_intern(&writer->frames, ha_frame_pc(row->creator), &index)
             : error;
}

static bool is_contention(const struct writer *writer) {
  return writer->profile->text_form == HA_TEXT_CONTENTIONS;
}

static void keep_row(const struct ha_row *row, void *arg) {
  struct writer *writer = arg;
  struct kept_row kept = {.frames = row->frames,
                          .frame_count = row->frame_count,
                          .label_set = row->label_set,
                          .title = row->title,
                          .creator = row->creator};
  if (writer->profile->has_sampled) {
    take_pair(&kept, row, ALLOC_OBJECTS, ALLOC_SPACE);
    take_pair(&kept, row, INUSE_OBJECTS, INUSE_SPACE);
  } else {
    kept.values[counted] = row->values[writer->shown];
    kept.values[contentions] = is_contention(writer) ? row->values[0] : 0;
    kept.number = row->number_count != 0 ? row->numbers[row->number_count - 1] : kept.number;
  }
  bool is_empty =
      kept.values[ALLOC_OBJECTS] == 0 && kept.values[INUSE_OBJECTS] == 0 && kept.values[counted] == 0;
  if (writer->error != 0 || is_empty) {
    return;
  }
  struct kept_row *rows = ha_scratch_room(writer->text.scratch, writer->rows, writer->row_count,
                                          &writer->row_capacity, sizeof(*rows));
  if (rows == NULL) {
    writer->error = -ENOMEM;
    return;
  }
  writer->rows = rows;
  rows[writer->row_count++] = kept;
  for (int i = 0; i < VALUE_COUNT; i++) {
    writer->totals[i] += kept.values[i];
  }
  writer->error = keep_frames(writer, row);
}

/* Makes the paths printable once, not once per frame. */
static int copy_paths(struct writer *writer) {
  struct ha_scratch *scratch = writer->text.scratch;
  writer->paths = ha_scratch_zalloc(scratch, writer->mappings.count, sizeof(*writer->paths));
  if (writer->paths == NULL) {
    return -ENOMEM;
  }
  for (uint32_t i = 0; i < writer->mappings.count; i++) {
    writer->paths[i] = ha_copy_printable(scratch, writer->mappings.items[i].path);
    if (writer->paths[i] == NULL) {
      return -ENOMEM;
    }
  }
  return 0;
}

/* Names the frames, and makes the names printable. */
static int find_names(struct writer *writer) {
  int error = ha_mappings_read(writer->text.scratch, &writer->mappings);
  if (error == 0) {
    error = copy_paths(writer);
  }
  if (error == 0) {
    error = ha_frames_resolve(&writer->frames, &writer->mappings);
  }
  for (uint32_t i = 0; i < writer->frames.count && error == 0; i++) {
    struct ha_frame *frame = &writer->frames.items[i];
    if (frame->name != NULL) {
      frame->name = ha_copy_printable(writer->text.scratch, frame->name);
      error = frame->name != NULL ? 0 : -ENOMEM;
    }
  }
  return error;
}

/* The values are nanoseconds, and unbiased: readers shall not scale them. */
static void put_contention_head(struct writer *writer) {
  bool is_block = strcmp(writer->profile->name, "block") == 0;
  put_text(writer, "--- ");
  put_text(writer, is_block ? "contention" : writer->profile->name);
  put_text(writer, ":\ncycles/second=1000000000\nsampling period=1\n");
}

static void put_head(struct writer *writer, int64_t period) {
  char piece[PIECE_MAX];
  int64_t totals[VALUE_COUNT];
  memcpy(totals, writer->totals, sizeof(totals));
  if (totals[ALLOC_SPACE] == totals[INUSE_SPACE]) {
    totals[ALLOC_SPACE]++;
  }
  if (!writer->profile->has_sampled) {
    put_text(writer, writer->profile->name);
    put_text(writer, " profile: total ");
    put_number(writer, writer->totals[counted]);
    put_text(writer, "\n");
    return;
  }
  put_text(writer, "heap profile: ");
  put_values(writer, totals);
  size_t size = ha_format(piece, sizeof(piece), " heap_v2/%lld\n", (long long)period);
  ha_buffer_append(&writer->text, piece, size);
}

/* "#\t<address>\t<function>+<offset>\t<file>"; without a name, the place in the file, as addr2line wants it.
 */
static void put_comment(struct writer *writer, const struct ha_frame *frame) {
  bool has_mapping = frame->mapping != HA_FRAME_NO_MAPPING;
  put_text(writer, "#\t");
  put_address(writer, frame->pc);
  if (frame->name != NULL) {
    put_text(writer, "\t");
    put_text(writer, frame->name);
    put_text(writer, "+");
    put_address(writer, frame->pc - frame->entry);
  }
  if (has_mapping) {
    put_text(writer, "\t");
    put_text(writer, writer->paths[frame->mapping]);
  }
  if (has_mapping && frame->name == NULL && writer->mappings.items[frame->mapping].has_bias) {
    put_text(writer, "+");
    put_address(writer, frame->pc - writer->mappings.items[frame->mapping].bias);
  }
  put_text(writer, "\n");
}

/* As Go's %q does it for printable text. */
static void put_quoted(struct writer *writer, const char *text) {
  put_text(writer, "\"");
  while (*text != '\0') {
    size_t plain = strcspn(text, "\"\\");
    ha_buffer_append(&writer->text, text, plain);
    text += plain;
    if (*text != '\0') {
      put_text(writer, *text == '"' ? "\\\"" : "\\\\");
      text++;
    }
  }
  put_text(writer, "\"");
}

/* "# labels: {"key":"value", "key":"value"}", as Go's text form of its goroutine profile has it. */
static void put_labels(struct writer *writer, uint32_t label_set) {
  const char *key, *value;
  uint32_t count = 0;
  while (label_set != 0 && writer->profile->label != NULL &&
         writer->profile->label(label_set, count, &key, &value)) {
    put_text(writer, count == 0 ? "# labels: {" : ", ");
    put_quoted(writer, key);
    put_text(writer, ":");
    put_quoted(writer, value);
    count++;
  }
  put_text(writer, count != 0 ? "}\n" : "");
}

/* "# lifetime: 125 milliseconds" */
static void put_row_number(struct writer *writer, const struct ha_row_number *number) {
  if (number->key != NULL) {
    put_text(writer, "# ");
    put_text(writer, number->key);
    put_text(writer, ": ");
    put_number(writer, number->value);
    put_text(writer, " ");
    put_text(writer, number->unit);
    put_text(writer, "\n");
  }
}

/* "<function>(...)" and, on the next line, its file and the offset into the function. */
static void put_call(struct writer *writer, uintptr_t return_address, bool has_arguments) {
  const struct ha_frame *frame = ha_frames_find(&writer->frames, ha_frame_pc(return_address));
  if (frame->name != NULL) {
    put_text(writer, frame->name);
  } else {
    put_address(writer, frame->pc);
  }
  put_text(writer, has_arguments && ha_synthetic_name(frame->pc) == NULL ? "(...)\n" : "\n");
  if (frame->mapping == HA_FRAME_NO_MAPPING) {
    return;
  }
  const struct ha_mapping *mapping = &writer->mappings.items[frame->mapping];
  put_text(writer, "\t");
  put_text(writer, writer->paths[frame->mapping]);
  if (frame->name != NULL || mapping->has_bias) {
    put_text(writer, " +");
    put_address(writer, frame->pc - (frame->name != NULL ? frame->entry : mapping->bias));
  }
  put_text(writer, "\n");
}

static void put_paragraph(struct writer *writer, const struct kept_row *row) {
  put_text(writer, row->title);
  put_text(writer, ":\n");
  for (uint32_t i = 0; i < row->frame_count; i++) {
    put_call(writer, row->frames[i], true);
  }
  if (row->creator != 0) {
    put_text(writer, "created by ");
    put_call(writer, row->creator, false);
  }
  put_text(writer, "\n");
}

static int put_dump(struct writer *writer, struct ha_blob *ret_blob) {
  for (uint32_t i = 0; i < writer->row_count; i++) {
    put_paragraph(writer, &writer->rows[i]);
  }
  return ha_buffer_finish(&writer->text, ret_blob);
}

static void put_row(struct writer *writer, const struct kept_row *row) {
  if (writer->profile->has_sampled) {
    put_values(writer, row->values);
  } else {
    put_number(writer, row->values[counted]);
    if (is_contention(writer)) {
      put_text(writer, " ");
      put_number(writer, row->values[contentions]);
    }
    put_text(writer, " @");
  }
  for (uint32_t i = 0; i < row->frame_count; i++) {
    put_text(writer, " ");
    put_address(writer, row->frames[i]);
  }
  put_text(writer, "\n");
  if (writer->text.size > COMMENTS_MAX) {
    return;
  }
  put_labels(writer, row->label_set);
  put_row_number(writer, &row->number);
  for (uint32_t i = 0; i < row->frame_count; i++) {
    put_comment(writer, ha_frames_find(&writer->frames, ha_frame_pc(row->frames[i])));
  }
  put_text(writer, "\n");
}

static int put_rows(struct writer *writer) {
  struct ha_sort_item *order = ha_scratch_zalloc(writer->text.scratch, writer->row_count, sizeof(*order));
  if (order == NULL) {
    return -ENOMEM;
  }
  for (uint32_t i = 0; i < writer->row_count; i++) {
    order[i] = (struct ha_sort_item){.key = (uint64_t)writer->rows[i].values[INUSE_SPACE], .index = i};
  }
  ha_sort(order, writer->row_count);
  for (uint32_t i = writer->row_count; i > 0; i--) {
    put_row(writer, &writer->rows[order[i - 1].index]);
  }
  return 0;
}

/* What tools show first. */
static uint32_t shown_value(const struct ha_profile *profile) {
  uint32_t shown = profile->type_count - 1;
  for (uint32_t i = 0; i < profile->type_count && profile->default_type != NULL; i++) {
    shown = strcmp(profile->types[i].type, profile->default_type) == 0 ? i : shown;
  }
  return shown;
}

int ha_text_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob) {
  if (profile->text_form == HA_TEXT_TRACE) {
    return ha_trace_encode(profile, scratch, ret_blob);
  }
  if (profile->has_sampled && profile->type_count != VALUE_COUNT) {
    return -ENOTSUP;
  }
  struct writer writer = {.profile = profile, .shown = shown_value(profile)};
  ha_buffer_init(&writer.text, scratch);
  ha_frames_init(&writer.frames, scratch);
  profile->visit(profile, keep_row, &writer);
  if (writer.error == 0) {
    writer.error = find_names(&writer);
  }
  if (writer.error != 0) {
    return writer.error;
  }
  if (profile->text_form == HA_TEXT_DUMP) {
    return put_dump(&writer, ret_blob);
  }
  if (is_contention(&writer)) {
    put_contention_head(&writer);
  } else {
    put_head(&writer, profile->period);
  }
  writer.error = put_rows(&writer);
  if (writer.error != 0) {
    return writer.error;
  }
  put_text(&writer, "\n");
  put_text(&writer, profile->text_trailer != NULL ? profile->text_trailer : "");
  put_text(&writer, profile->has_sampled ? "\nMAPPED_LIBRARIES:\n" : "--- Memory map: ---\n");
  /* Without /proc the section stays empty. */
  (void)ha_buffer_read_file(&writer.text, HA_MAPS_PATH);
  return ha_buffer_finish(&writer.text, ret_blob);
}
