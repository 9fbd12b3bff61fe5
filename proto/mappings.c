/* SPDX-License-Identifier: MIT */
/*
 * The list of mappings. The maps are read whole, then taken line by line in address order; the last line seen
 * that showed file offset 0 is where the ELF headers of the lines after it are in memory, as long as they are
 * of the same file.
 *
 * The build id and the load address come from the file if it is certainly the one that is mapped (its inode
 * is the one in the maps); else from memory, which serves files that were deleted or replaced and file
 * systems whose inodes differ from those in the maps; else from whatever file the path names, unless it was
 * deleted.
 *
 * The main program is the file that holds the program headers the kernel announced (AT_PHDR). /proc/self/exe
 * would be the loader when the program was started through it.
 */
#include "proto/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/compiler.h"
#include "proto/elf_image.h"

#define MEMORY_PATH "/proc/self/mem"
#define PERMISSIONS_SIZE 4
#define EXECUTABLE_AT 2

static const char deleted_mark[] = " (deleted)";
static const char vdso_name[] = "[vdso]";

struct list {
  struct ha_scratch *scratch;
  struct ha_mappings mappings;
  uint32_t capacity;
  int memory_fd;
  uintptr_t main_address;         /* lies in the main program's file */
  struct ha_maps_line main_line;  /* path NULL: not seen yet */
  struct ha_maps_line image_line; /* the last line of file offset 0 */
};

/* A hexadecimal or decimal number, at least one digit. Numbers that are too large wrap: no line has them. */
static bool parse_number(const char **at, const char *end, unsigned radix, uint64_t *ret_number) {
  uint64_t number = 0;
  const char *start = *at;
  for (; *at < end; ++*at) {
    char c = **at;
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                            : radix;
    if (digit >= radix) {
      break;
    }
    number = number * radix + digit;
  }
  *ret_number = number;
  return *at > start;
}

static bool parse_char(const char **at, const char *end, char expected) {
  if (*at >= end || **at != expected) {
    return false;
  }
  ++*at;
  return true;
}

static bool parse_permissions(const char **at, const char *end, bool *ret_is_executable) {
  if (end - *at < PERMISSIONS_SIZE) {
    return false;
  }
  *ret_is_executable = (*at)[EXECUTABLE_AT] == 'x';
  *at += PERMISSIONS_SIZE;
  return true;
}

static void parse_path(const char *at, const char *end, struct ha_maps_line *line) {
  while (at < end && *at == ' ') {
    at++;
  }
  size_t size = (size_t)(end - at), mark = sizeof(deleted_mark) - 1;
  line->is_deleted = size > mark && memcmp(end - mark, deleted_mark, mark) == 0;
  line->path = at;
  line->path_size = line->is_deleted ? size - mark : size;
}

bool ha_maps_parse_line(const char *line, size_t size, struct ha_maps_line *ret_line) {
  const unsigned hex = 16, decimal = 10, minor_bits = 32;
  const char *at = line, *end = line + size;
  struct ha_maps_line parsed = {0};
  uint64_t start, limit, major, minor;
  if (!parse_number(&at, end, hex, &start) || !parse_char(&at, end, '-') ||
      !parse_number(&at, end, hex, &limit) || !parse_char(&at, end, ' ') ||
      !parse_permissions(&at, end, &parsed.is_executable) || !parse_char(&at, end, ' ') ||
      !parse_number(&at, end, hex, &parsed.offset) || !parse_char(&at, end, ' ') ||
      !parse_number(&at, end, hex, &major) || !parse_char(&at, end, ':') ||
      !parse_number(&at, end, hex, &minor) || !parse_char(&at, end, ' ') ||
      !parse_number(&at, end, decimal, &parsed.inode) || limit <= start) {
    return false;
  }
  parsed.start = start;
  parsed.limit = limit;
  parsed.device = major << minor_bits | minor;
  parse_path(at, end, &parsed);
  *ret_line = parsed;
  return true;
}

static bool is_vdso(const struct ha_maps_line *line) {
  return line->path_size == sizeof(vdso_name) - 1 && memcmp(line->path, vdso_name, line->path_size) == 0;
}

static bool is_same_file(const struct ha_maps_line *a, const struct ha_maps_line *b) {
  return a->path != NULL && b->path != NULL && a->inode == b->inode && a->device == b->device &&
         a->path_size == b->path_size && memcmp(a->path, b->path, a->path_size) == 0;
}

/* The kernel writes a newline in a path as \012, and nothing else specially. */
static char *copy_path(struct ha_scratch *scratch, const struct ha_maps_line *line) {
  static const char escape[] = "\\012";
  char *path = ha_scratch_copy_text(scratch, line->path, line->path_size);
  if (path == NULL) {
    return NULL;
  }
  for (char *at = path; (at = strstr(at, escape)) != NULL; at++) {
    *at = '\n';
    memmove(at + 1, at + sizeof(escape) - 1, strlen(at + sizeof(escape) - 1) + 1);
  }
  return path;
}

/*
 * The difference of addresses and virtual addresses, from the executable segment whose pages hold the
 * mapping's file offset. Segments are mapped in whole pages, so the ends are rounded.
 */
static bool find_bias(const struct ha_elf *elf, struct ha_mapping *mapping) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  Elf64_Phdr program;
  for (uint32_t i = 0; ha_elf_program(elf, i, &program) == 0; i++) {
    uint64_t first = ha_align_down(program.p_offset, page);
    if (program.p_type != PT_LOAD || (program.p_flags & PF_X) == 0 || mapping->offset < first ||
        mapping->offset - first >= program.p_filesz + (program.p_offset - first)) {
      continue;
    }
    mapping->bias = mapping->start - mapping->offset + program.p_offset - program.p_vaddr;
    mapping->has_bias = true;
    return true;
  }
  return false;
}

/* Takes what elf says about the mapping; false: the image says nothing about it. */
static bool describe(const struct ha_elf *elf, struct ha_mapping *mapping, char *build_id) {
  if (!find_bias(elf, mapping)) {
    return false;
  }
  ha_elf_build_id(elf, build_id);
  return true;
}

/* Fills the load address and the build id, if any source has them. */
static void identify(const struct list *list, const struct ha_maps_line *line, struct ha_mapping *mapping,
                     char *build_id) {
  struct ha_elf file, memory;
  bool has_file =
      mapping->path[0] == '/' && !mapping->is_deleted && ha_elf_open_file(&file, mapping->path) == 0;
  bool is_known = has_file && file.inode == line->inode && describe(&file, mapping, build_id);
  const struct ha_maps_line *image = &list->image_line;
  if (!is_known && is_same_file(image, line) &&
      ha_elf_open_memory(&memory, list->memory_fd, image->start, image->limit) == 0) {
    is_known = describe(&memory, mapping, build_id);
  }
  if (!is_known && has_file) {
    describe(&file, mapping, build_id);
  }
  if (has_file) {
    ha_elf_close(&file);
  }
}

static int add_mapping(struct list *list, const struct ha_maps_line *line) {
  struct ha_mappings *mappings = &list->mappings;
  struct ha_mapping *items =
      ha_scratch_room(list->scratch, mappings->items, mappings->count, &list->capacity, sizeof(*items));
  if (items == NULL) {
    return -ENOMEM;
  }
  mappings->items = items;
  struct ha_mapping mapping = {.start = line->start,
                               .limit = line->limit,
                               .offset = line->offset,
                               .device = line->device,
                               .inode = line->inode,
                               .path = copy_path(list->scratch, line),
                               .is_deleted = line->is_deleted};
  if (mapping.path == NULL) {
    return -ENOMEM;
  }
  char build_id[HA_BUILD_ID_TEXT] = "";
  identify(list, line, &mapping, build_id);
  mapping.build_id = ha_scratch_copy_text(list->scratch, build_id, strlen(build_id));
  if (mapping.build_id == NULL) {
    return -ENOMEM;
  }
  items[mappings->count++] = mapping;
  return 0;
}

static int add_line(struct list *list, const struct ha_maps_line *line) {
  if (line->start <= list->main_address && list->main_address < line->limit) {
    list->main_line = *line;
  }
  bool is_file = line->inode != 0 && line->path_size > 0 && line->path[0] == '/';
  if (!is_file && !is_vdso(line)) {
    return 0;
  }
  if (line->offset == 0) {
    list->image_line = *line;
  }
  return line->is_executable ? add_mapping(list, line) : 0;
}

/* Moves the first mapping of the main program to the front. */
static void put_main_first(struct list *list) {
  struct ha_mapping *items = list->mappings.items;
  const struct ha_maps_line *line = &list->main_line;
  for (uint32_t i = 0; line->path != NULL && i < list->mappings.count; i++) {
    if (items[i].inode != line->inode || items[i].device != line->device ||
        strlen(items[i].path) != line->path_size || memcmp(items[i].path, line->path, line->path_size) != 0) {
      continue;
    }
    struct ha_mapping first = items[i];
    memmove(items + 1, items, i * sizeof(*items));
    items[0] = first;
    return;
  }
}

int ha_mappings_parse(struct ha_scratch *scratch, const char *text, size_t size,
                      struct ha_mappings *ret_mappings) {
  struct list list = {.scratch = scratch, .main_address = getauxval(AT_PHDR)};
  list.memory_fd = open(MEMORY_PATH, O_RDONLY | O_CLOEXEC);
  const char *end = text + size;
  int error = 0;
  while (text < end && error == 0) {
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    const char *line_end = newline != NULL ? newline : end;
    struct ha_maps_line line;
    if (ha_maps_parse_line(text, (size_t)(line_end - text), &line)) {
      error = add_line(&list, &line);
    }
    text = line_end + 1;
  }
  if (list.memory_fd >= 0) {
    close(list.memory_fd);
  }
  if (error != 0) {
    return error;
  }
  put_main_first(&list);
  *ret_mappings = list.mappings;
  return 0;
}

int ha_mappings_read(struct ha_scratch *scratch, struct ha_mappings *ret_mappings) {
  struct ha_buffer maps;
  struct ha_blob text;
  ha_buffer_init(&maps, scratch);
  /* Without /proc a profile has no names, which is better than no profile. */
  (void)ha_buffer_read_file(&maps, HA_MAPS_PATH);
  int error = ha_buffer_finish(&maps, &text);
  return error != 0 ? error : ha_mappings_parse(scratch, text.data, text.size, ret_mappings);
}
