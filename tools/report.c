/* SPDX-License-Identifier: MIT */
/*
 * Complaints, escaped text and memory that does not fail; report.h says what each guarantees.
 *
 * A complaint is formatted whole before it is written, so lines of two processes on one terminal do not mix.
 */
#include "tools/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Room for two longest paths and the words around them. */
#define COMPLAINT_MAX 9216
#define FIRST_CAPACITY 64
#define DELETE_CHARACTER 0x7f
/* UTF-8: bytes that continue a character are 10xxxxxx, the longest character has four bytes. */
#define UTF8_CONTINUE_MASK 0xc0
#define UTF8_CONTINUE 0x80
#define UTF8_PAYLOAD 0x3f
#define UTF8_PAYLOAD_BITS 6

static bool is_control(unsigned char c) {
  return c < ' ' || c == DELETE_CHARACTER;
}

int ha_complain(const char *format, ...) {
  char line[COMPLAINT_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  for (char *p = line; *p != '\0'; p++) {
    if (is_control((unsigned char)*p))
      *p = '?';
  }
  fprintf(stderr, "halloc: %s\n", line);
  return HA_EXIT_USAGE;
}

void ha_put_text(FILE *out, const char *text) {
  for (; *text != '\0'; text++)
    putc(is_control((unsigned char)*text) ? '?' : *text, out);
}

struct utf8_form {
  unsigned char mask, lead;
  uint32_t smallest; /* a longer form than needed is not valid */
};

static const struct utf8_form utf8_forms[] = {
    {0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

/* Length of the character that starts at text, or 0 when there is no valid one. */
static size_t utf8_length(const unsigned char *text) {
  const uint32_t last = 0x10ffff, surrogate_first = 0xd800, surrogate_last = 0xdfff;
  for (size_t i = 0; i < HA_ARRAY_LEN(utf8_forms); i++) {
    const struct utf8_form *form = &utf8_forms[i];
    if ((text[0] & form->mask) != form->lead)
      continue;
    uint32_t value = text[0] & (unsigned char)~form->mask;
    for (size_t k = 1; k <= i; k++) {
      if ((text[k] & UTF8_CONTINUE_MASK) != UTF8_CONTINUE)
        return 0;
      value = value << UTF8_PAYLOAD_BITS | (text[k] & UTF8_PAYLOAD);
    }
    bool valid =
        value >= form->smallest && value <= last && !(value >= surrogate_first && value <= surrogate_last);
    return valid ? i + 1 : 0;
  }
  return 0;
}

void ha_put_json(FILE *out, const char *text) {
  const unsigned char *p = (const unsigned char *)text;
  putc('"', out);
  while (*p != '\0') {
    size_t length = utf8_length(p);
    if (length == 0) {
      fputs("\\ufffd", out);
      p++;
      continue;
    }
    if (*p == '"' || *p == '\\')
      putc('\\', out);
    if (is_control(*p))
      fprintf(out, "\\u%04x", *p);
    else
      fwrite(p, 1, length, out);
    p += length;
  }
  putc('"', out);
}

static void *checked(void *memory) {
  if (memory == NULL)
    exit(ha_complain("memory: expected more than the system grants; giving up"));
  return memory;
}

void *ha_array(size_t count, size_t element_size) {
  return checked(calloc(count == 0 ? 1 : count, element_size));
}

void *ha_array_grow(void *array, size_t *capacity, size_t needed, size_t element_size) {
  if (needed <= *capacity)
    return array;
  size_t wanted = *capacity == 0 ? FIRST_CAPACITY : *capacity;
  while (wanted < needed)
    wanted *= 2;
  *capacity = wanted;
  return checked(reallocarray(array, wanted, element_size));
}
