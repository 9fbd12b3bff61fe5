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
    FIELD(Alloc),         FIELD(TotalAlloc),      FIELD(Sys),          FIELD(Lookups),
    FIELD(Mallocs),       FIELD(Frees),           FIELD(HeapAlloc),    FIELD(HeapSys),
    FIELD(HeapIdle),      FIELD(HeapInuse),       FIELD(HeapReleased), FIELD(HeapObjects),
    FIELD(StackInuse),    FIELD(StackSys),        FIELD(MSpanInuse),   FIELD(MSpanSys),
    FIELD(MCacheInuse),   FIELD(MCacheSys),       FIELD(BuckHashSys),  FIELD(GCSys),
    FIELD(OtherSys),      FIELD(NextGC),          FIELD(LastGC),       FIELD(PauseTotalNs),
    FIELD(NumGC),         FIELD(NumForcedGC),     FIELD(Threads),      FIELD(RSS),
    FIELD(MinorFaults),   FIELD(MajorFaults),     FIELD(MemoryLimit),  FIELD(MemoryLimitExceeded),
    FIELD(ReleasedTotal), FIELD(ReleaseCPUNanos),
};

static unsigned long value_of(const struct hp_memstats *stats, const struct field *field) {
  return *(const uint64_t *)(const void *)((const char *)stats + field->offset);
}

/* Where the next text goes: behind what is there, or nowhere once the buffer is full; the length is counted
 * on. */
struct tail {
  char *out;
  size_t room;
};

static struct tail tail_of(char *out, size_t size, size_t length) {
  return length < size ? (struct tail){out + length, size - length} : (struct tail){NULL, 0};
}

size_t ha_memstats_json(const struct hp_memstats *stats, char *out, size_t size) {
  size_t length = 0;
  for (size_t i = 0; i < HA_ARRAY_LEN(fields); i++) {
    struct tail tail = tail_of(out, size, length);
    length += ha_format(tail.out, tail.room, "%c\"%s\":%lu", i == 0 ? '{' : ',', fields[i].name,
                        value_of(stats, &fields[i]));
  }
  struct tail tail = tail_of(out, size, length);
  return length + ha_format(tail.out, tail.room, "}");
}

size_t ha_memstats_comment(const struct hp_memstats *stats, char *out, size_t size) {
  size_t length = ha_format(out, size, "\n# runtime.MemStats\n");
  for (size_t i = 0; i < HA_ARRAY_LEN(fields); i++) {
    struct tail tail = tail_of(out, size, length);
    length += ha_format(tail.out, tail.room, "# %s = %lu\n", fields[i].name, value_of(stats, &fields[i]));
  }
  return length;
}
