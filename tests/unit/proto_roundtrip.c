/* SPDX-License-Identifier: MIT */
/*
 * Encodes a small invented profile whose frames lie in functions of this program, and reads it back.
 *
 * What could break a user here: a profile that readers refuse, a frame under the wrong name, two rows counted
 * as one, a crash because a binary on disk was cut short, a crash or a leak when memory is scarce.
 *
 * Usage: proto_roundtrip [<file for the protobuf form> [<file for the text form>]]
 * The files are for readers of other makers, such as `go tool pprof` and google-pprof.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/compiler.h"
#include "proto/builder.h"
#include "proto/elf_image.h"
#include "proto/frames.h"
#include "proto/intern.h"
#include "proto/profile.pb-c.h"
#include "proto/symbols.h"
#include "proto/text.h"

#define MIB (1 << 20)
#define PLAIN_MAX ((size_t)1 * MIB)
#define PERIOD (512 * 1024)
#define NOWHERE ((uintptr_t)0x1001)

static int failures;

#define CHECK(condition, reason)                                                                             \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      printf("%s:%d: %s: %s (%s)\n", __FILE__, __LINE__, __func__, (reason), #condition);                    \
      failures++;                                                                                            \
    }                                                                                                        \
  } while (0)

/* Functions with different bodies, so that the linker cannot fold them into one. */
#define VICTIM(name, factor)                                                                                 \
  HA_NOINLINE static unsigned name(volatile unsigned *value) {                                               \
    for (unsigned i = 0; i < (factor); i++) {                                                                \
      *value = *value * (factor) + i;                                                                        \
    }                                                                                                        \
    return *value;                                                                                           \
  }

VICTIM(roundtrip_leaf, 3u)
VICTIM(roundtrip_middle, 5u)
VICTIM(roundtrip_root, 7u)

/* An address somewhere behind the first instruction, as return addresses are. */
#define INSIDE(name) ((uintptr_t)(name) + 5)

static uintptr_t long_stack[3], short_stack[2], odd_stack[2];

enum { LONG_ROW, SHORT_ROW, OTHER_LABEL_ROW, EMPTY_ROW, ODD_ROW, STACKLESS_ROW, ROW_COUNT };

static const struct ha_row rows[ROW_COUNT] = {
    [LONG_ROW] = {.frames = long_stack,
                  .frame_count = 3,
                  .label_set = 0,
                  .block_size = 1024,
                  .values = {40, 40960, 20, 20480},
                  .sampled = {4, 4096, 2, 2048}},
    [SHORT_ROW] = {.frames = short_stack,
                   .frame_count = 2,
                   .label_set = 0,
                   .block_size = 64,
                   .values = {9000, 576000, 0, 0},
                   .sampled = {9, 576, 0, 0}},
    [OTHER_LABEL_ROW] = {.frames = short_stack,
                         .frame_count = 2,
                         .label_set = 1,
                         .block_size = 64,
                         .values = {1000, 64000, 1000, 64000},
                         .sampled = {1, 64, 1, 64}},
    [EMPTY_ROW] = {.frames = short_stack,
                   .frame_count = 2,
                   .label_set = 2,
                   .block_size = 64,
                   .values = {0, 0, 0, 0},
                   .sampled = {0, 0, 0, 0}},
    [ODD_ROW] = {.frames = odd_stack,
                 .frame_count = 2,
                 .label_set = 0,
                 .block_size = 0,
                 .values = {1, 1 * MIB, 1, 1 * MIB},
                 .sampled = {1, 1 * MIB, 0, 5}},
    [STACKLESS_ROW] = {.frames = NULL,
                       .frame_count = 0,
                       .label_set = 0,
                       .block_size = 16,
                       .values = {1, 16, 1, 16},
                       .sampled = {0, 0, 0, 0}},
};

static void visit_rows(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  for (size_t i = 0; i < ROW_COUNT; i++) {
    fn(&rows[i], arg);
  }
}

static const struct ha_profile profile = {
    .name = "heap",
    .types = {{"alloc_objects", "count"},
              {"alloc_space", "bytes"},
              {"inuse_objects", "count"},
              {"inuse_space", "bytes"}},
    .type_count = 4,
    .period_type = {"space", "bytes"},
    .period = PERIOD,
    .time_nanos = INT64_C(1700000000000000000),
    .comments = {"a comment", "caf\xc3\xa9 \xff"},
    .comment_count = 2,
    .text_trailer = "# statistics\n# HeapAlloc = 1\n",
    .has_sampled = true,
    .visit = visit_rows,
};

static void fill_stacks(void) {
  volatile unsigned value = 1;
  /* Called once so that the compiler keeps them. */
  (void)(roundtrip_leaf(&value) + roundtrip_middle(&value) + roundtrip_root(&value));
  long_stack[0] = INSIDE(roundtrip_leaf);
  long_stack[1] = INSIDE(roundtrip_middle);
  long_stack[2] = INSIDE(roundtrip_root);
  short_stack[0] = INSIDE(roundtrip_middle);
  short_stack[1] = INSIDE(roundtrip_root);
  odd_stack[0] = NOWHERE;
  odd_stack[1] = INSIDE(roundtrip_root);
}

static void save(const char *path, const struct ha_blob *blob) {
  FILE *file = path != NULL ? fopen(path, "w") : NULL;
  if (file != NULL) {
    fwrite(blob->data, 1, blob->size, file);
    fclose(file);
  }
}

static Perftools__Profiles__Profile *decode(const struct ha_blob *blob) {
  unsigned char *plain = malloc(PLAIN_MAX);
  z_stream stream = {
      .next_in = blob->data, .avail_in = (unsigned)blob->size, .next_out = plain, .avail_out = PLAIN_MAX};
  CHECK(inflateInit2(&stream, MAX_WBITS + 16) == Z_OK, "zlib works");
  CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END, "the file is one gzip member");
  CHECK(stream.avail_in == 0, "nothing follows it");
  size_t size = stream.total_out;
  inflateEnd(&stream);
  Perftools__Profiles__Profile *decoded = perftools__profiles__profile__unpack(NULL, size, plain);
  free(plain);
  return decoded;
}

static void check_header(const Perftools__Profiles__Profile *p) {
  CHECK(p->n_string_table > 0 && p->string_table[0][0] == '\0', "string 0 is empty");
  CHECK(p->n_sample_type == 4, "Go's four types");
  for (size_t i = 0; i < p->n_sample_type; i++) {
    CHECK(strcmp(p->string_table[p->sample_type[i]->type], profile.types[i].type) == 0, "types in order");
    CHECK(strcmp(p->string_table[p->sample_type[i]->unit], profile.types[i].unit) == 0, "units in order");
  }
  CHECK(p->period == PERIOD && p->time_nanos == profile.time_nanos, "header numbers");
  CHECK(strcmp(p->string_table[p->period_type->type], "space") == 0, "period type");
  CHECK(p->default_sample_type == 0 && p->duration_nanos == 0, "absent fields stay absent");
  CHECK(p->n_comment == 2, "both comments");
  CHECK(strcmp(p->string_table[p->comment[1]], "caf\xc3\xa9 ?") == 0,
        "bytes that are not UTF-8 are replaced");
}

static void check_ids(const Perftools__Profiles__Profile *p) {
  for (size_t i = 0; i < p->n_mapping; i++) {
    CHECK(p->mapping[i]->id == i + 1, "mapping ids are dense");
    CHECK(!p->mapping[i]->has_functions && !p->mapping[i]->has_filenames, "readers may improve on us");
  }
  for (size_t i = 0; i < p->n_location; i++) {
    CHECK(p->location[i]->id == i + 1, "location ids are dense");
    CHECK(p->location[i]->mapping_id <= p->n_mapping, "mappings exist");
  }
  for (size_t i = 0; i < p->n_function; i++) {
    CHECK(p->function[i]->id == i + 1, "function ids are dense");
  }
}

/* The name of a sample's frame, "" if it has none. */
static const char *frame_name(const Perftools__Profiles__Profile *p, size_t sample, size_t frame) {
  const Perftools__Profiles__Location *location = p->location[p->sample[sample]->location_id[frame] - 1];
  if (location->n_line == 0) {
    return "";
  }
  return p->string_table[p->function[location->line[0]->function_id - 1]->name];
}

static void check_samples(const Perftools__Profiles__Profile *p) {
  CHECK(p->n_sample == ROW_COUNT - 1, "one sample per row that is not all zero");
  CHECK(p->sample[0]->n_location_id == 3 && p->sample[0]->n_value == 4, "all frames, all values");
  CHECK(strcmp(frame_name(p, 0, 0), "roundtrip_leaf") == 0, "innermost frame first");
  CHECK(strcmp(frame_name(p, 0, 1), "roundtrip_middle") == 0, "then its caller");
  CHECK(strcmp(frame_name(p, 0, 2), "roundtrip_root") == 0, "outermost frame last");
  CHECK(p->location[0]->address == long_stack[0] - 1, "the address lies inside the call");
  CHECK(memcmp(p->sample[0]->value, rows[LONG_ROW].values, sizeof(rows[LONG_ROW].values)) == 0, "values");
  CHECK(p->sample[0]->n_label == 1 && p->sample[0]->label[0]->num == 1024, "the block size is a label");
  CHECK(strcmp(p->string_table[p->sample[0]->label[0]->key], "bytes") == 0, "named bytes");
  CHECK(p->sample[1]->location_id[0] == p->sample[2]->location_id[0], "one location per address");
  CHECK(p->sample[3]->n_label == 0, "no block size, no label");
  CHECK(p->location[p->sample[3]->location_id[0] - 1]->mapping_id == 0, "an address outside has no mapping");
}

static void check_main_mapping(const Perftools__Profiles__Profile *p) {
  char path[4096] = "";
  CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0, "the kernel knows our path");
  const Perftools__Profiles__Mapping *mapping = p->mapping[0];
  CHECK(strcmp(p->string_table[mapping->filename], path) == 0, "the main program comes first");
  CHECK(mapping->memory_start < long_stack[0] && long_stack[0] < mapping->memory_limit, "with true bounds");
  CHECK(p->location[0]->mapping_id == 1, "and holds our functions");
}

static void protobuf_form_reads_back(const char *path) {
  struct ha_blob blob;
  struct ha_scratch *scratch = ha_scratch_new();
  CHECK(ha_proto_encode(&profile, scratch, &blob) == 0, "encodes");
  save(path, &blob);
  Perftools__Profiles__Profile *decoded = decode(&blob);
  CHECK(decoded != NULL, "is valid protobuf");
  if (decoded != NULL) {
    check_header(decoded);
    check_ids(decoded);
    check_samples(decoded);
    check_main_mapping(decoded);
    perftools__profiles__profile__free_unpacked(decoded, NULL);
  }
  ha_scratch_destroy(scratch);
}

static void text_form_has_totals_rows_and_names(const char *path) {
  struct ha_blob blob;
  struct ha_scratch *scratch = ha_scratch_new();
  CHECK(ha_text_encode(&profile, scratch, &blob) == 0, "encodes");
  save(path, &blob);
  const char *text = ha_scratch_copy_text(scratch, blob.data, blob.size);
  static const char head[] = "heap profile: 3: 2112 [15: 1053312] @ heap_v2/524288\n2: 2048 [4: 4096] @ 0x";
  CHECK(strncmp(text, head, sizeof(head) - 1) == 0, "raw totals, then the row with most live bytes");
  CHECK(strstr(text, "\troundtrip_leaf+0x4\t/") != NULL, "comment lines with names");
  CHECK(strstr(text, "\n0: 0 [1: 1048576] @ 0x1001 ") != NULL, "no bytes without blocks");
  CHECK(strstr(text, "0: 0 [0: 0]") == NULL, "no row without samples");
  CHECK(strstr(text, "\n# HeapAlloc = 1\n\nMAPPED_LIBRARIES:\n") != NULL, "trailer, then the maps");
  ha_scratch_destroy(scratch);
}

static void text_form_refuses_samples_of_other_values(void) {
  struct ha_blob blob;
  struct ha_profile other = profile;
  other.type_count = 2;
  struct ha_scratch *scratch = ha_scratch_new();
  CHECK(ha_text_encode(&other, scratch, &blob) == -ENOTSUP, "samples are those of a heap profile");
  ha_scratch_destroy(scratch);
}

static void visit_numbered(const struct ha_profile *source, ha_row_fn *fn, void *arg) {
  struct ha_row row = rows[LONG_ROW];
  (void)source;
  row.number_count = 2;
  row.numbers[0] = (struct ha_row_number){"request", 1000, "bytes"};
  row.numbers[1] = (struct ha_row_number){"age", 60, "seconds"};
  fn(&rows[SHORT_ROW], arg);
  fn(&row, arg);
  fn(&rows[EMPTY_ROW], arg);
}

static void text_form_of_other_profiles_has_one_value(void) {
  struct ha_blob blob = {NULL, 0};
  struct ha_profile other = profile;
  other.name = "peak";
  other.type_count = 2;
  other.has_sampled = false;
  other.visit = visit_numbered;
  other.text_trailer = NULL;
  struct ha_scratch *scratch = ha_scratch_new();
  CHECK(ha_text_encode(&other, scratch, &blob) == 0, "it has a text form");
  const char *text = ha_scratch_copy_text(scratch, blob.data, blob.size);
  static const char head[] = "peak profile: total 616960\n576000 @ 0x";
  CHECK(strncmp(text, head, sizeof(head) - 1) == 0, "the last value, and the largest first");
  CHECK(strstr(text, "\n40960 @ 0x") != NULL, "the other row");
  CHECK(strstr(text, "\n# age: 60 seconds\n#\t0x") != NULL, "its last number");
  CHECK(strstr(text, "\n0 @") == NULL, "no empty row");
  CHECK(strstr(text, "\n--- Memory map: ---\n") != NULL, "the maps");
  other.default_type = "alloc_objects";
  CHECK(ha_text_encode(&other, scratch, &blob) == 0, "the other value");
  text = ha_scratch_copy_text(scratch, blob.data, blob.size);
  static const char other_head[] = "peak profile: total 9040\n9000 @";
  CHECK(strncmp(text, other_head, sizeof(other_head) - 1) == 0, "the value that is shown first");
  ha_scratch_destroy(scratch);
}

/* Every amount of memory either suffices or is reported: nothing crashes in between. */
static void too_little_memory_is_an_error(void) {
  for (size_t limit = 0; limit < 1 * MIB; limit += 997) {
    struct ha_blob blob;
    struct ha_scratch *scratch = ha_scratch_new();
    ha_scratch_set_limit(scratch, limit);
    int error = ha_proto_encode(&profile, scratch, &blob);
    CHECK(error == 0 || error == -ENOMEM, "protobuf form");
    ha_scratch_set_limit(scratch, limit);
    error = ha_text_encode(&profile, scratch, &blob);
    CHECK(error == 0 || error == -ENOMEM, "text form");
    ha_scratch_destroy(scratch);
  }
}

struct copied_elf {
  char path[32];
  int fd;
  char *bytes;
  size_t size;
  struct ha_mapping mapping; /* of our code, but of the copied file */
};

static void copy_own_elf(struct copied_elf *copy, struct ha_scratch *scratch) {
  struct ha_mappings mappings;
  struct ha_buffer file;
  struct stat status;
  strcpy(copy->path, "/tmp/ha_elf_XXXXXX");
  copy->fd = mkstemp(copy->path);
  ha_buffer_init(&file, scratch);
  CHECK(copy->fd >= 0 && ha_buffer_read_file(&file, "/proc/self/exe") == 0, "own file is readable");
  copy->bytes = file.data;
  copy->size = file.size;
  CHECK(ha_mappings_read(scratch, &mappings) == 0 && mappings.count > 0, "mappings");
  CHECK(fstat(copy->fd, &status) == 0, "fstat");
  copy->mapping = mappings.items[0];
  copy->mapping.path = copy->path;
  copy->mapping.inode = status.st_ino;
}

static void write_elf(const struct copied_elf *copy, size_t size) {
  CHECK(ftruncate(copy->fd, 0) == 0 && pwrite(copy->fd, copy->bytes, size, 0) == (ssize_t)size, "write");
}

static const char *name_in_copy(const struct copied_elf *copy, struct ha_scratch *scratch) {
  struct ha_symbol symbol = {.address = INSIDE(roundtrip_leaf)};
  CHECK(ha_symbols_find(scratch, &copy->mapping, &symbol, 1) == 0, "a bad file is no failure");
  return symbol.name;
}

static void truncated_elf_names_nothing(void) {
  struct ha_scratch *scratch = ha_scratch_new();
  struct copied_elf copy;
  copy_own_elf(&copy, scratch);
  write_elf(&copy, copy.size);
  const char *name = name_in_copy(&copy, scratch);
  CHECK(name != NULL && strcmp(name, "roundtrip_leaf") == 0, "the whole file names it");
  for (size_t i = 0; i < 64; i++) {
    write_elf(&copy, copy.size * i / 64);
    CHECK(name_in_copy(&copy, scratch) == NULL, "the section headers are cut off");
  }
  close(copy.fd);
  unlink(copy.path);
  ha_scratch_destroy(scratch);
}

/* Random damage in the ELF header, the program headers and the section headers. */
static void damaged_elf_does_not_crash(void) {
  struct ha_scratch *scratch = ha_scratch_new();
  struct copied_elf copy;
  copy_own_elf(&copy, scratch);
  uint64_t sections;
  memcpy(&sections, copy.bytes + offsetof(Elf64_Ehdr, e_shoff), sizeof(sections));
  unsigned seed = 1;
  for (int round = 0; round < 400; round++) {
    char *place = copy.bytes + (round % 2 == 0 ? sizeof(Elf64_Ehdr) : sections);
    size_t reach = round % 2 == 0 ? 512 : copy.size - sections;
    char *victim =
        round % 5 == 0 ? copy.bytes + EI_NIDENT + rand_r(&seed) % 48 : place + rand_r(&seed) % reach;
    char saved = *victim;
    *victim = (char)rand_r(&seed);
    write_elf(&copy, copy.size);
    struct ha_elf elf;
    char build_id[HA_BUILD_ID_TEXT];
    if (ha_elf_open_file(&elf, copy.path) == 0) {
      ha_elf_build_id(&elf, build_id);
      ha_elf_close(&elf);
    }
    name_in_copy(&copy, scratch);
    if (round % 7 != 0) {
      *victim = saved; /* else damage adds up */
    }
  }
  close(copy.fd);
  unlink(copy.path);
  ha_scratch_destroy(scratch);
}

static void a_replaced_file_names_nothing(void) {
  struct ha_scratch *scratch = ha_scratch_new();
  struct copied_elf copy;
  copy_own_elf(&copy, scratch);
  write_elf(&copy, copy.size);
  copy.mapping.build_id = "0123456789abcdef";
  copy.mapping.inode++;
  CHECK(name_in_copy(&copy, scratch) == NULL, "another build id, another program");
  close(copy.fd);
  unlink(copy.path);
  ha_scratch_destroy(scratch);
}

static void odd_maps_lines_are_understood(void) {
  static const char spaced[] =
      "7f00a000-7f00b000 r-xp 00001000 08:02 4711                /tmp/a b (c)/d.so (deleted)";
  static const char bare[] = "7ffc1000-7ffc2000 rw-p 00000000 00:00 0 ";
  static const char *const broken[] = {"",
                                       "7f00",
                                       "7f00-",
                                       "7f00-7f10 r-x",
                                       "7f10-7f00 r-xp 0 0:0 0 /x",
                                       "zz-7f10 r-xp 0 0:0 0 /x",
                                       "7f00-7f10 r-xp 0 0:0 ",
                                       "\n"};
  struct ha_maps_line line;
  CHECK(ha_maps_parse_line(spaced, sizeof(spaced) - 1, &line), "a path with spaces");
  CHECK(line.start == 0x7f00a000 && line.limit == 0x7f00b000 && line.offset == 0x1000, "its numbers");
  CHECK(line.is_executable && line.is_deleted && line.inode == 4711, "its marks");
  CHECK(line.path_size == 17 && memcmp(line.path, "/tmp/a b (c)/d.so", 17) == 0, "the path without the mark");
  CHECK(ha_maps_parse_line(bare, sizeof(bare) - 1, &line) && line.path_size == 0, "no path at all");
  for (size_t i = 0; i < HA_ARRAY_LEN(broken); i++) {
    CHECK(!ha_maps_parse_line(broken[i], strlen(broken[i]), &line), broken[i]);
  }
}

static void only_executable_files_are_mappings(void) {
  static const char maps[] = "1000-2000 r--p 00000000 08:02 77  /no/such file\\012here (deleted)\n"
                             "2000-3000 r-xp 00001000 08:02 77  /no/such file\\012here (deleted)\n"
                             "nonsense\n"
                             "5000-6000 r-xp 00000000 00:00 0 \n"
                             "6000-7000 rw-p 00000000 00:00 0  [heap]\n"
                             "7000-8000 r-xp 00000000 00:00 0  [vdso]\n"
                             "8000-9000 r-xp 00000000 08:02 78  /no/other"; /* no newline */
  struct ha_scratch *scratch = ha_scratch_new();
  struct ha_mappings mappings;
  CHECK(ha_mappings_parse(scratch, maps, sizeof(maps) - 1, &mappings) == 0, "parses");
  CHECK(mappings.count == 3, "code without a file, data and nonsense are left out");
  CHECK(mappings.items[0].start == 0x2000 && mappings.items[0].is_deleted, "the deleted file");
  CHECK(strcmp(mappings.items[0].path, "/no/such file\nhere") == 0, "its path as it was");
  CHECK(mappings.items[0].build_id[0] == '\0' && !mappings.items[0].has_bias, "nothing is known of it");
  CHECK(strcmp(mappings.items[1].path, "[vdso]") == 0 && mappings.items[2].inode == 78, "the others");
  ha_scratch_destroy(scratch);
}

static void text_becomes_printable(void) {
  static const char *const cases[][2] = {
      {"plain", "plain"},
      {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
      {"\xc0\xaf", "??"},
      {"\xed\xa0\x80", "???"},
      {"a\tb\n\x7f", "a?b??"},
      {"cut\xe2\x82", "cut??"},
      {"\xf4\x90\x80\x80", "????"}};
  struct ha_scratch *scratch = ha_scratch_new();
  for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
    CHECK(strcmp(ha_copy_printable(scratch, cases[i][0]), cases[i][1]) == 0, cases[i][1]);
  }
  ha_scratch_destroy(scratch);
}

int main(int argc, char **argv) {
  fill_stacks();
  protobuf_form_reads_back(argc > 1 ? argv[1] : NULL);
  text_form_has_totals_rows_and_names(argc > 2 ? argv[2] : NULL);
  text_form_refuses_samples_of_other_values();
  text_form_of_other_profiles_has_one_value();
  too_little_memory_is_an_error();
  truncated_elf_names_nothing();
  damaged_elf_does_not_crash();
  a_replaced_file_names_nothing();
  odd_maps_lines_are_understood();
  only_executable_files_are_mappings();
  text_becomes_printable();
  return failures == 0 ? 0 : 1;
}
