/* SPDX-License-Identifier: MIT */
/*
 * One line for each kind.
 */
#include "serve/kinds.h"

#include <stdarg.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"
#include "sampler/contention.h"
#include "serve/contention_profiles.h"
#include "serve/rss_profile.h"
#include "serve/sampled_kinds.h"
#include "serve/thread_profiles.h"

#define COMMENT_MAX 256

static const struct ha_kind kinds[] = {
    {.name = "allocs", .open = ha_kind_open_heap, .is_heap = true},
    {.name = "block", .open = ha_open_contention},
    {.name = "delta_block", .open = ha_open_contention, .complete = ha_contention_complete_delta},
    {.name = "delta_heap", .open = ha_kind_open_delta, .complete = ha_kind_complete_delta},
    {.name = "delta_mutex", .open = ha_open_contention, .complete = ha_contention_complete_delta},
    {.name = "fragmentation", .open = ha_kind_open_fragmentation},
    {.name = "goroutine",
     .open = ha_open_threads,
     .open_dump = ha_open_thread_dump,
     .gather = ha_gather_threads,
     .release = ha_release_threads},
    {.name = "heap", .open = ha_kind_open_heap, .is_heap = true},
    {.name = "lifetimes", .open = ha_kind_open_lifetimes},
    {.name = "mutex", .open = ha_open_contention},
    {.name = "peak", .open = ha_kind_open_peak},
    {.name = "rss", .open = ha_rss_profile, .is_heap = true},
    {.name = "since_mark", .open = ha_kind_open_since_mark},
    {.name = "threadcreate", .open = ha_open_thread_creators},
    {.name = "threads",
     .open = ha_open_threads,
     .open_dump = ha_open_thread_dump,
     .gather = ha_gather_threads,
     .release = ha_release_threads},
};

void *ha_kind_alloc(const struct ha_kind_memory *memory, size_t size) {
  void *block = memory->encoders->scratch_alloc(memory->scratch, size);
  return block != NULL ? memset(block, 0, size) : NULL;
}

void ha_kind_comment(struct ha_profile *profile, const struct ha_kind_memory *memory, const char *format,
                     ...) {
  char *line = profile->comment_count < HA_COMMENTS_MAX ? ha_kind_alloc(memory, COMMENT_MAX) : NULL;
  if (line != NULL) {
    va_list args;
    va_start(args, format);
    ha_vformat(line, COMMENT_MAX, format, args);
    va_end(args);
    profile->comments[profile->comment_count++] = line;
  }
}

const struct ha_kind *ha_kind_find(const char *name) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(kinds); i++) {
    if (strcmp(kinds[i].name, name) == 0) {
      return &kinds[i];
    }
  }
  return NULL;
}

const struct ha_kind *ha_kind_at(unsigned index) {
  return index < HA_ARRAY_LEN(kinds) ? &kinds[index] : NULL;
}
