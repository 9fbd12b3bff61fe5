/* SPDX-License-Identifier: MIT */
/*
 * A mapping is one line as in /proc/self/maps, then lines of "Key: value"; "Rss:" comes once for each and completes it.
 * The file is read through a buffer whose last, incomplete line is moved to the front.
 */
#include "base/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PERMISSIONS_SIZE 4
#define FIELDS_BEFORE_PATH 5 /* addresses, permissions, offset, device, inode */
#define INODE_FIELD 4
#define KIB 1024

/* A piece of a line. */
struct text {
  const char *at;
  const char *end;
};

static bool take_number(struct text *text, unsigned radix, uint64_t *ret_number) {
  const char *start = text->at;
  uint64_t number = 0;
  for (; text->at < text->end; text->at++) {
    char c = *text->at;
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                            : radix;
    if (digit >= radix) {
      break;
    }
    number = number * radix + digit;
  }
  *ret_number = number;
  return text->at > start;
}

static void skip_spaces(struct text *text) {
  while (text->at < text->end && *text->at == ' ') {
    text->at++;
  }
}

/* The next word; empty at the end. */
static struct text take_word(struct text *text) {
  skip_spaces(text);
  struct text word = {text->at, text->at};
  while (text->at < text->end && *text->at != ' ') {
    text->at++;
  }
  word.end = text->at;
  return word;
}

static void copy_name(struct ha_smaps_mapping *mapping, struct text path) {
  const char *slash = path.end > path.at ? memrchr(path.at, '/', (size_t)(path.end - path.at)) : NULL;
  const char *name = slash != NULL ? slash + 1 : path.at;
  size_t size = (size_t)(path.end - name);
  size = size < HA_SMAPS_NAME_MAX ? size : HA_SMAPS_NAME_MAX - 1;
  memcpy(mapping->name, name, size);
  mapping->name[size] = '\0';
}

/* "[vdso]", "[vvar]", "[vsyscall]": of no file, but no memory of the program's either. */
static bool is_of_kernel(const char *name) {
  return name[0] == '[' && name[1] == 'v';
}

/* "<start>-<limit> <permissions> <offset> <device> <inode> <path>". */
static bool parse_head(struct text line, struct ha_smaps_mapping *mapping) {
  const unsigned hex = 16, decimal = 10;
  struct text words[FIELDS_BEFORE_PATH];
  uint64_t start, limit, inode;
  for (int i = 0; i < FIELDS_BEFORE_PATH; i++) {
    words[i] = take_word(&line);
  }
  struct text addresses = words[0], permissions = words[1], number = words[INODE_FIELD];
  if (!take_number(&addresses, hex, &start) || addresses.at == addresses.end || *addresses.at++ != '-' ||
      !take_number(&addresses, hex, &limit) || addresses.at != addresses.end || limit <= start ||
      permissions.end - permissions.at != PERMISSIONS_SIZE || !take_number(&number, decimal, &inode)) {
    return false;
  }
  skip_spaces(&line);
  *mapping = (struct ha_smaps_mapping){.start = start, .limit = limit};
  copy_name(mapping, line);
  mapping->is_file = inode != 0 || is_of_kernel(mapping->name);
  return true;
}

void ha_smaps_parse_line(struct ha_smaps_parser *parser, const char *line, size_t size, ha_smaps_fn *fn,
                         void *arg) {
  static const char key[] = "Rss:";
  struct text text = {line, line + size};
  struct ha_smaps_mapping mapping;
  if (parse_head(text, &mapping)) {
    *parser = (struct ha_smaps_parser){mapping, true};
    return;
  }
  if (!parser->has_mapping || size < sizeof key || memcmp(line, key, sizeof key - 1) != 0) {
    return;
  }
  const unsigned decimal = 10;
  uint64_t number;
  text.at += sizeof key - 1;
  skip_spaces(&text);
  if (take_number(&text, decimal, &number)) {
    parser->mapping.resident = number * KIB;
    parser->has_mapping = false;
    fn(&parser->mapping, arg);
  }
}

/* Parses the whole lines; returns how many bytes are left of the last one, at the front of the buffer. */
static size_t parse_lines(struct ha_smaps_parser *parser, char *buffer, size_t size, ha_smaps_fn *fn,
                          void *arg) {
  char *line = buffer, *end = buffer + size, *newline;
  while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
    ha_smaps_parse_line(parser, line, (size_t)(newline - line), fn, arg);
    line = newline + 1;
  }
  size_t left = (size_t)(end - line);
  /* A line that fills the buffer is none that we know. */
  left = left < HA_SMAPS_BUFFER ? left : 0;
  memmove(buffer, line, left);
  return left;
}

int ha_smaps_read_from(int fd, char *buffer, ha_smaps_fn *fn, void *arg) {
  struct ha_smaps_parser parser = {.has_mapping = false};
  size_t left = 0;
  ssize_t got = 1;
  while (got != 0) {
    got = read(fd, buffer + left, HA_SMAPS_BUFFER - left);
    if (got > 0) {
      left = parse_lines(&parser, buffer, left + (size_t)got, fn, arg);
    } else if (got < 0 && errno != EINTR) {
      return -errno;
    }
  }
  return 0;
}

int ha_smaps_read(char *buffer, ha_smaps_fn *fn, void *arg) {
  int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return -errno;
  }
  int error = ha_smaps_read_from(fd, buffer, fn, arg);
  close(fd);
  return error;
}
