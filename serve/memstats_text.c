/* SPDX-License-Identifier: MIT */
/*
 * Both texts come from one table of fields, in Go's order.
 */
#include "serve/memstats_text.h"

#include "base/log.h"

struct field {
  const char *name;
  size_t offset;
};

#define FIELD(name)                                                                                          \
  { #name, offsetof(struct hp_memstats, name) }

static const struct field fields[] = {
    FIELD(Alloc),     FIELD(TotalAlloc),   FIELD(Sys),         FIELD(Mallocs),
    FIELD(Frees),     FIELD(HeapAlloc),    FIELD(HeapSys),     FIELD(HeapIdle),
    FIELD(HeapInuse), FIELD(HeapReleased), FIELD(HeapObjects), FIELD(MSpanSys),
    FIELD(MCacheSys), FIELD(BuckHashSys),  FIELD(OtherSys),    FIELD(Threads),
};

static uint64_t value_of(const struct hp_memstats *stats, const struct field *field) {
  return *(const uint64_t *)(const void *)((const char *)stats + field->offset);
}

/* Appends behind what is there and keeps counting when the buffer is full. */
static size_t append(char *out, size_t size, size_t length, const char *format, const char *name,
                     uint64_t value) {
  size_t room = length < size ? size - length : 0;
  return length + ha_format(room > 0 ? out + length : NULL, room, format, name, (unsigned long)value);
}

size_t ha_memstats_json(const struct hp_memstats *stats, char *out, size_t size) {
  size_t length = 0;
  for (size_t i = 0; i < HA_ARRAY_LEN(fields); i++) {
    length = append(out, size, length, i == 0 ? "{\"%s\":%lu" : ",\"%s\":%lu", fields[i].name,
                    value_of(stats, &fields[i]));
  }
  if (length + 1 < size) {
    out[length] = '}';
    out[length + 1] = '\0';
  }
  return length + 1;
}

size_t ha_memstats_comment(const struct hp_memstats *stats, char *out, size_t size) {
  size_t length = ha_format(out, size, "\n# runtime.MemStats\n");
  for (size_t i = 0; i < HA_ARRAY_LEN(fields); i++) {
    length = append(out, size, length, "# %s = %lu\n", fields[i].name, value_of(stats, &fields[i]));
  }
  return length;
}
