/* SPDX-License-Identifier: MIT */
/*
 * Building the Profile message in pieces. Protobuf merges messages that are written one after the other, so
 * each piece is a Profile with a few of its fields, packed by protobuf-c straight into the gzip stream:
 *
 *   sample types | one piece per row | mappings | one piece per location and new function | head | strings
 *
 * Rows come first because they say which addresses there are; the mappings are read after them, so that no
 * code the rows mention is too new for the list. The string table is last, when no number is given out any
 * more.
 *
 * Ids are dense and in table order (Parca and Pyroscope index by them): a location's is its frame's index
 * plus one, a mapping's its index plus one, a function's counts the names as met. All has_* flags of mappings
 * stay false though we write function names: a reader that has the debug information then adds inlined frames
 * and line numbers, and one that finds nothing keeps our names.
 */
#include "proto/builder.h"

#include <errno.h>

#include "base/compiler.h"
#include "proto/frames.h"
#include "proto/gzip.h"
#include "proto/intern.h"
#include "proto/profile.pb-c.h"

/*
 * Functions that only pass an allocation on. Readers match it against a whole name without arguments,
 * demangled or not, and hide the frame and what it called. A wrapper such as strdup is the program's choice
 * and stays visible.
 */
static const char drop_frames[] =
    "malloc|calloc|realloc|reallocarray|free|cfree|memalign|posix_memalign|aligned_alloc|valloc|pvalloc"
    "|operator (new|delete)(\\[\\])?|_Z(n[aw]|d[al])[jmP].*"
    "|(std::(__1::)?(__new_allocator|allocator|allocator_traits)|__gnu_cxx::(new_allocator|__alloc_traits))"
    "(<.*>)?::(allocate|deallocate)";

/* Of a sample: 16 texts, the block size and other numbers. */
#define ROW_LABELS_MAX (17 + HA_ROW_NUMBERS_MAX)

/* The number of a text of a label. Sets share no texts, but rows share sets. */
struct known_text {
  const char *text;
  uint32_t number;
};
#define KNOWN_TEXTS 4096

struct encoder {
  ProtobufCBuffer sink; /* first: protobuf-c hands it back to us */
  const struct ha_profile *profile;
  struct ha_scratch *scratch;
  struct ha_gzip *gzip;
  struct ha_frames frames;
  struct ha_strings strings;
  struct ha_mappings mappings;
  uint32_t *functions; /* by string number: id of the function of that name, 0: not written yet */
  uint32_t function_count;
  uint64_t *ids; /* locations of the row at hand */
  uint32_t ids_capacity;
  struct known_text *known_texts; /* KNOWN_TEXTS of them, by address */
  int error;                      /* 0 or the first failure */
};

static void append_to_gzip(ProtobufCBuffer *sink, size_t size, const uint8_t *data) {
  ha_gzip_write(((struct encoder *)sink)->gzip, data, size);
}

static void put_piece(struct encoder *encoder, const Perftools__Profiles__Profile *piece) {
  perftools__profiles__profile__pack_to_buffer(piece, &encoder->sink);
}

static uint32_t text_number(struct encoder *encoder, const char *text) {
  uint32_t number = 0;
  if (encoder->error == 0) {
    encoder->error = ha_strings_intern(&encoder->strings, text, &number);
  }
  return number;
}

static Perftools__Profiles__ValueType value_type(struct encoder *encoder, const struct ha_value_type *type) {
  Perftools__Profiles__ValueType message = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;
  message.type = text_number(encoder, type->type);
  message.unit = text_number(encoder, type->unit);
  return message;
}

static void put_sample_types(struct encoder *encoder) {
  Perftools__Profiles__ValueType types[HA_ROW_VALUES_MAX], *pointers[HA_ROW_VALUES_MAX];
  for (uint32_t i = 0; i < encoder->profile->type_count; i++) {
    types[i] = value_type(encoder, &encoder->profile->types[i]);
    pointers[i] = &types[i];
  }
  Perftools__Profiles__Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
  piece.n_sample_type = encoder->profile->type_count;
  piece.sample_type = pointers;
  put_piece(encoder, &piece);
}

static bool is_empty_row(const struct ha_row *row, uint32_t value_count) {
  for (uint32_t i = 0; i < value_count; i++) {
    if (row->values[i] != 0) {
      return false;
    }
  }
  return true;
}

/* Fills encoder->ids with the row's locations. */
static int find_locations(struct encoder *encoder, const struct ha_row *row) {
  if (row->frame_count > encoder->ids_capacity) {
    size_t old_size = encoder->ids_capacity * sizeof(*encoder->ids);
    uint64_t *ids =
        ha_scratch_grow(encoder->scratch, encoder->ids, old_size, row->frame_count * sizeof(*ids));
    if (ids == NULL) {
      return -ENOMEM;
    }
    encoder->ids = ids;
    encoder->ids_capacity = row->frame_count;
  }
  for (uint32_t i = 0; i < row->frame_count; i++) {
    uint32_t index;
    int error = ha_frames_intern(&encoder->frames, ha_frame_pc(row->frames[i]), &index);
    if (error != 0) {
      return error;
    }
    encoder->ids[i] = (uint64_t)index + 1;
  }
  return 0;
}

/* As text_number, for a text that stays where it is: most are looked up only once. */
static uint32_t lasting_text_number(struct encoder *encoder, const char *text) {
  struct known_text *known =
      &encoder->known_texts[((uintptr_t)text * UINT64_C(0x9e3779b97f4a7c15) >> 32) % KNOWN_TEXTS];
  if (known->text != text) {
    *known = (struct known_text){text, text_number(encoder, text)};
  }
  return known->number;
}

static Perftools__Profiles__Label number_label(struct encoder *encoder, const struct ha_row_number *number) {
  Perftools__Profiles__Label label = PERFTOOLS__PROFILES__LABEL__INIT;
  label.key = lasting_text_number(encoder, number->key);
  label.num = number->value;
  label.num_unit = lasting_text_number(encoder, number->unit);
  return label;
}

/* The block size and other numbers, then the labels as texts. How many. */
static size_t fill_labels(struct encoder *encoder, const struct ha_row *row,
                          Perftools__Profiles__Label *labels) {
  static const Perftools__Profiles__Label empty = PERFTOOLS__PROFILES__LABEL__INIT;
  size_t count = 0;
  if (row->block_size != 0) {
    labels[count++] =
        number_label(encoder, &(struct ha_row_number){"bytes", (int64_t)row->block_size, "bytes"});
  }
  for (uint32_t i = 0; i < row->number_count; i++) {
    labels[count++] = number_label(encoder, &row->numbers[i]);
  }
  const char *key, *value;
  for (uint32_t i = 0; count < ROW_LABELS_MAX && row->label_set != 0 && encoder->profile->label != NULL &&
                       encoder->profile->label(row->label_set, i, &key, &value);
       i++) {
    labels[count] = empty;
    labels[count].key = lasting_text_number(encoder, key);
    labels[count++].str = lasting_text_number(encoder, value);
  }
  return count;
}

static void put_row(const struct ha_row *row, void *arg) {
  struct encoder *encoder = arg;
  uint32_t value_count = encoder->profile->type_count;
  if (encoder->error != 0 || is_empty_row(row, value_count)) {
    return;
  }
  encoder->error = find_locations(encoder, row);
  if (encoder->error != 0) {
    return;
  }
  int64_t values[HA_ROW_VALUES_MAX];
  for (uint32_t i = 0; i < value_count; i++) {
    values[i] = row->values[i];
  }
  Perftools__Profiles__Label labels[ROW_LABELS_MAX], *label_pointers[ROW_LABELS_MAX];
  size_t label_count = fill_labels(encoder, row, labels);
  for (size_t i = 0; i < label_count; i++) {
    label_pointers[i] = &labels[i];
  }
  Perftools__Profiles__Sample sample = PERFTOOLS__PROFILES__SAMPLE__INIT, *samples[] = {&sample};
  sample.n_location_id = row->frame_count;
  sample.location_id = encoder->ids;
  sample.n_value = value_count;
  sample.value = values;
  sample.n_label = label_count;
  sample.label = label_pointers;
  Perftools__Profiles__Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
  piece.n_sample = HA_ARRAY_LEN(samples);
  piece.sample = samples;
  put_piece(encoder, &piece);
}

static void put_mapping(struct encoder *encoder, uint32_t index) {
  const struct ha_mapping *mapping = &encoder->mappings.items[index];
  Perftools__Profiles__Mapping message = PERFTOOLS__PROFILES__MAPPING__INIT, *messages[] = {&message};
  message.id = (uint64_t)index + 1;
  message.memory_start = mapping->start;
  message.memory_limit = mapping->limit;
  message.file_offset = mapping->offset;
  message.filename = text_number(encoder, mapping->path);
  message.build_id = text_number(encoder, mapping->build_id);
  Perftools__Profiles__Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
  piece.n_mapping = HA_ARRAY_LEN(messages);
  piece.mapping = messages;
  put_piece(encoder, &piece);
}

/* The id of the function of a name; a new one is added to the piece as its only function. */
static uint64_t function_id(struct encoder *encoder, const char *name, Perftools__Profiles__Profile *piece) {
  uint32_t number = text_number(encoder, name);
  if (encoder->error != 0) {
    return 0;
  }
  uint32_t *id = &encoder->functions[number];
  if (*id == 0) {
    *id = ++encoder->function_count;
    Perftools__Profiles__Function *function = piece->function[0];
    function->id = *id;
    function->name = number;
    function->system_name = number;
    piece->n_function = 1;
  }
  return *id;
}

static void put_location(struct encoder *encoder, uint32_t index) {
  const struct ha_frame *frame = &encoder->frames.items[index];
  Perftools__Profiles__Function function = PERFTOOLS__PROFILES__FUNCTION__INIT, *functions[] = {&function};
  Perftools__Profiles__Location location = PERFTOOLS__PROFILES__LOCATION__INIT, *locations[] = {&location};
  Perftools__Profiles__Line line = PERFTOOLS__PROFILES__LINE__INIT, *lines[] = {&line};
  Perftools__Profiles__Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
  piece.function = functions;
  piece.n_location = HA_ARRAY_LEN(locations);
  piece.location = locations;
  location.id = (uint64_t)index + 1;
  location.mapping_id = frame->mapping == HA_FRAME_NO_MAPPING ? 0 : (uint64_t)frame->mapping + 1;
  location.address = frame->pc;
  if (frame->name != NULL) {
    line.function_id = function_id(encoder, frame->name, &piece);
    location.n_line = HA_ARRAY_LEN(lines);
    location.line = lines;
  }
  put_piece(encoder, &piece);
}

/* Reads the mappings, names the frames, writes both. */
static void put_code(struct encoder *encoder) {
  if (encoder->error == 0) {
    encoder->error = ha_mappings_read(encoder->scratch, &encoder->mappings);
  }
  if (encoder->error == 0) {
    encoder->error = ha_frames_resolve(&encoder->frames, &encoder->mappings);
  }
  for (uint32_t i = 0; i < encoder->mappings.count && encoder->error == 0; i++) {
    put_mapping(encoder, i);
  }
  if (encoder->error != 0) {
    return;
  }
  /* Each frame adds at most one text from here on. */
  size_t text_count = (size_t)encoder->strings.count + encoder->frames.count;
  encoder->functions = ha_scratch_zalloc(encoder->scratch, text_count, sizeof(*encoder->functions));
  if (encoder->functions == NULL) {
    encoder->error = -ENOMEM;
  }
  for (uint32_t i = 0; i < encoder->frames.count && encoder->error == 0; i++) {
    put_location(encoder, i);
  }
}

static void put_head(struct encoder *encoder) {
  const struct ha_profile *profile = encoder->profile;
  int64_t comments[HA_COMMENTS_MAX];
  for (uint32_t i = 0; i < profile->comment_count; i++) {
    comments[i] = text_number(encoder, profile->comments[i]);
  }
  Perftools__Profiles__ValueType period_type = value_type(encoder, &profile->period_type);
  Perftools__Profiles__Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
  piece.drop_frames = profile->shows_allocators ? 0 : text_number(encoder, drop_frames);
  piece.time_nanos = profile->time_nanos;
  piece.duration_nanos = profile->duration_nanos;
  piece.period_type = &period_type;
  piece.period = profile->period;
  piece.n_comment = profile->comment_count;
  piece.comment = comments;
  piece.default_sample_type = text_number(encoder, profile->default_type);
  put_piece(encoder, &piece);
}

static void put_strings(struct encoder *encoder) {
  Perftools__Profiles__Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
  piece.n_string_table = encoder->strings.count;
  piece.string_table = encoder->strings.items;
  put_piece(encoder, &piece);
}

int ha_proto_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob) {
  if (profile->type_count > HA_ROW_VALUES_MAX || profile->comment_count > HA_COMMENTS_MAX) {
    return -EINVAL;
  }
  struct encoder encoder = {.sink.append = append_to_gzip, .profile = profile, .scratch = scratch};
  encoder.gzip = ha_gzip_new(scratch);
  if (encoder.gzip == NULL) {
    return -ENOMEM;
  }
  ha_frames_init(&encoder.frames, scratch);
  encoder.error = ha_strings_init(&encoder.strings, scratch);
  encoder.known_texts = ha_scratch_zalloc(scratch, KNOWN_TEXTS, sizeof(*encoder.known_texts));
  if (encoder.known_texts == NULL) {
    return -ENOMEM;
  }
  put_sample_types(&encoder);
  profile->visit(profile, put_row, &encoder);
  put_code(&encoder);
  put_head(&encoder);
  put_strings(&encoder);
  return encoder.error != 0 ? encoder.error : ha_gzip_finish(encoder.gzip, ret_blob);
}
