/* SPDX-License-Identifier: MIT */
/*
 * Formatting without stdio: a cursor over a caller's buffer that counts what it could not store.
 *
 * Everything here works before constructors, in signal handlers and in a forked child, and never allocates.
 */
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct cursor {
  char *out;
  size_t size;
  size_t length; /* what the whole text needs, stored or not */
};

static void put(struct cursor *cursor, char c) {
  if (cursor->length + 1 < cursor->size) {
    cursor->out[cursor->length] = c;
  }
  cursor->length++;
}

static void put_string(struct cursor *cursor, const char *text) {
  for (text = text != NULL ? text : "(null)"; *text != '\0'; text++) {
    put(cursor, *text);
  }
}

static void put_number(struct cursor *cursor, uint64_t value, unsigned base) {
  char digits[24];
  size_t count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (count > 0) {
    put(cursor, digits[--count]);
  }
}

static void put_signed(struct cursor *cursor, int64_t value) {
  if (value < 0) {
    put(cursor, '-');
    put_number(cursor, -(uint64_t)value, 10);
  } else {
    put_number(cursor, (uint64_t)value, 10);
  }
}

enum width { WIDTH_INT, WIDTH_LONG };

/* Consumes l, ll and z; on the supported machines they are all 64 bits wide. */
static enum width take_width(const char **format) {
  enum width width = WIDTH_INT;
  while (**format == 'l' || **format == 'z') {
    width = WIDTH_LONG;
    (*format)++;
  }
  return width;
}

static void put_conversion(struct cursor *cursor, const char **format, va_list *args) {
  enum width width = take_width(format);
  switch (**format) {
  case 's':
    put_string(cursor, va_arg(*args, const char *));
    break;
  case 'c':
    put(cursor, (char)va_arg(*args, int));
    break;
  case 'd':
    put_signed(cursor, width == WIDTH_LONG ? va_arg(*args, long) : va_arg(*args, int));
    break;
  case 'u':
    put_number(cursor, width == WIDTH_LONG ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), 10);
    break;
  case 'x':
    put_number(cursor, width == WIDTH_LONG ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), 16);
    break;
  case 'p':
    put_string(cursor, "0x");
    put_number(cursor, (uintptr_t)va_arg(*args, void *), 16);
    break;
  default:
    put(cursor, **format);
  }
}

size_t ha_vformat(char *out, size_t size, const char *format, va_list args) {
  struct cursor cursor = {out, size, 0};
  va_list rest;
  va_copy(rest, args);
  for (; *format != '\0'; format++) {
    if (*format != '%' || format[1] == '\0') {
      put(&cursor, *format);
      continue;
    }
    format++;
    put_conversion(&cursor, &format, &rest);
  }
  va_end(rest);
  if (size > 0) {
    out[cursor.length < size ? cursor.length : size - 1] = '\0';
  }
  return cursor.length;
}

size_t ha_format(char *out, size_t size, const char *format, ...) {
  va_list args;
  va_start(args, format);
  size_t length = ha_vformat(out, size, format, args);
  va_end(args);
  return length;
}

HA_PRINTF(1, 0)
static void write_line(const char *format, va_list args) {
  static const char prefix[] = "halloc: ";
  char line[HA_LOG_MAX];
  int saved = errno;
  size_t length = ha_format(line, sizeof line, "%s", prefix);
  length += ha_vformat(line + length, sizeof line - length - 1, format, args);
  if (length > sizeof line - 2) {
    length = sizeof line - 2;
  }
  line[length++] = '\n';
  /* Not write(2): that is a cancellation point, and this may be the last word of a thread inside free. If it fails,
   * there is nowhere else to report to. */
  (void)syscall(SYS_write, STDERR_FILENO, line, length);
  errno = saved;
}

void ha_log(const char *format, ...) {
  va_list args;
  va_start(args, format);
  write_line(format, args);
  va_end(args);
}

void ha_die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  write_line(format, args);
  va_end(args);
  abort();
}
