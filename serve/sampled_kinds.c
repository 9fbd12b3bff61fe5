/* SPDX-License-Identifier: MIT */
/*
 * Walks and counts of pages are alloc's, sums and rows are sampler's; here they meet.
 */
#include "serve/sampled_kinds.h"

#include <errno.h>
#include <unistd.h>

#include "alloc/live.h"
#include "alloc/occupancy.h"
#include "base/clock.h"
#include "base/log.h"
#include "halloc.h"
#include "sampler/delta.h"
#include "sampler/fragmentation.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/lifetimes.h"
#include "sampler/peak_profile.h"
#include "sampler/since_mark.h"
#include "sampler/unwind.h"

#define COMMENT_MAX 160

static void *alloc_for_kind(const void *source, size_t size) {
  return ha_kind_alloc(source, size);
}

/* Good as long as `kind_memory`. */
static struct ha_memory memory_of(const struct ha_kind_memory *kind_memory) {
  return (struct ha_memory){alloc_for_kind, kind_memory};
}

/* Room for one more comment; NULL without memory. */
static char *add_comment(struct ha_profile *profile, const struct ha_kind_memory *memory) {
  char *line = ha_kind_alloc(memory, COMMENT_MAX);
  if (line != NULL) {
    profile->comments[profile->comment_count++] = line;
  }
  return line;
}

/* As those of the heap profile, but for the exact totals, which are not this profile's. */
static int add_comments(struct ha_profile *profile, const struct ha_kind_memory *memory) {
  char *source = add_comment(profile, memory);
  char *lost = source != NULL ? add_comment(profile, memory) : NULL;
  if (lost == NULL) {
    return -ENOMEM;
  }
  ha_format(source, COMMENT_MAX, "halloc: version=" HA_VERSION " pid=%d rate=%ld", (int)getpid(),
            (long)ha_rate());
  ha_format(lost, COMMENT_MAX, "halloc: lost dropped=%lu truncated=%lu",
            ha_samples_dropped(HA_DROP_REENTRANT) + ha_samples_dropped(HA_DROP_NO_MEMORY),
            ha_unwind_truncated());
  return 0;
}

#define TENTHS 10

/* Tenths of seconds since then. */
static unsigned long tenths_since(uint32_t ticks) {
  return (uint64_t)ha_ticks_between(ticks, ha_clock_ticks()) * TENTHS / HA_TICKS_PER_SECOND;
}

/* mark: NULL for all live samples. NULL without memory. */
static struct ha_ages *gather_ages(const struct ha_kind_memory *memory, const struct ha_mark *mark) {
  struct ha_ages *ages = ha_kind_alloc(memory, sizeof *ages);
  if (ages == NULL) {
    return NULL;
  }
  ha_ages_begin(ages, mark, memory_of(memory));
  ha_live_visit(ha_ages_add, ages);
  return ages->is_out_of_memory ? NULL : ages;
}

int ha_kind_open_heap(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  ha_heap_profile(profile, name, memory->is_for_text ? NULL : gather_ages(memory, NULL));
  return 0;
}

int ha_kind_open_since_mark(struct ha_profile *profile, const char *name,
                            const struct ha_kind_memory *memory) {
  struct ha_mark mark = ha_mark_last();
  struct ha_ages *ages = gather_ages(memory, &mark);
  if (ages == NULL) {
    return -ENOMEM;
  }
  ha_since_mark_profile(profile, name, ages);
  char *line = add_comment(profile, memory);
  if (line == NULL) {
    return -ENOMEM;
  }
  unsigned long tenths = tenths_since(mark.ticks);
  if (mark.number != 0) {
    ha_format(line, COMMENT_MAX, "halloc: mark=%u seconds_ago=%lu.%lu", mark.number, tenths / TENTHS,
              tenths % TENTHS);
  } else {
    ha_format(line, COMMENT_MAX, "halloc: mark=0, none was set: all that is in use");
  }
  return add_comments(profile, memory);
}

int ha_kind_open_peak(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  struct ha_peak_rows *rows = ha_kind_alloc(memory, sizeof *rows);
  if (rows == NULL || !ha_peak_gather(rows, memory_of(memory))) {
    return -ENOMEM;
  }
  ha_peak_profile(profile, name, rows);
  char *line = add_comment(profile, memory);
  if (line == NULL) {
    return -ENOMEM;
  }
  unsigned long tenths = tenths_since(rows->peak.ticks);
  ha_format(line, COMMENT_MAX, "halloc: peak inuse_space=%lu seconds_ago=%lu.%lu", rows->peak.height,
            tenths / TENTHS, tenths % TENTHS);
  return add_comments(profile, memory);
}

int ha_kind_open_lifetimes(struct ha_profile *profile, const char *name,
                           const struct ha_kind_memory *memory) {
  ha_lifetimes_profile(profile, name);
  return add_comments(profile, memory);
}

int ha_kind_open_fragmentation(struct ha_profile *profile, const char *name,
                               const struct ha_kind_memory *memory) {
  struct ha_fragmentation *fragmentation = ha_kind_alloc(memory, sizeof *fragmentation);
  uint64_t free_bytes[HA_CLASS_COUNT];
  struct ha_fragmentation_class *classes = ha_kind_alloc(memory, HA_CLASS_COUNT * sizeof *classes);
  if (fragmentation == NULL || classes == NULL) {
    return -ENOMEM;
  }
  ha_occupancy_read(free_bytes);
  for (unsigned i = 0; i < HA_CLASS_COUNT; i++) {
    classes[i].free_bytes = free_bytes[i];
    classes[i].block_size = ha_class_size(i);
  }
  fragmentation->classes = classes;
  fragmentation->class_count = HA_CLASS_COUNT;
  if (!ha_fragmentation_gather(fragmentation, memory_of(memory))) {
    return -ENOMEM;
  }
  ha_fragmentation_profile(profile, name, fragmentation);
  return add_comments(profile, memory);
}

int ha_kind_open_delta(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  struct ha_delta *delta = ha_kind_alloc(memory, sizeof *delta);
  if (delta == NULL || !ha_delta_gather(delta, memory_of(memory))) {
    return -ENOMEM;
  }
  ha_delta_profile(profile, name, delta);
  return add_comments(profile, memory);
}

void ha_kind_complete_delta(const struct ha_profile *profile) {
  ha_delta_commit(profile->source);
}

HA_EXPORT uint64_t hp_profile_mark(void) {
  return ha_mark_set();
}
