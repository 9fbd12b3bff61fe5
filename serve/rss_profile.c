/* SPDX-License-Identifier: MIT */
/*
 * The rows of the heap profile are copied first, so that what is scaled is what is shown. Sampled large blocks then
 * find their row by stack, label set and class.
 */
#include "serve/rss_profile.h"

#include <errno.h>

#include "alloc/footprint.h"
#include "base/log.h"
#include "base/sort.h"
#include "labels/set.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "serve/rss_mappings.h"

#define COMMENT_SIZE 512
#define SPARE_ROWS 64 /* for sites that come between counting and copying */
#define INUSE_SPACE 3 /* of the values of a heap row */

struct live_row {
  const uintptr_t *frames;
  uint32_t frame_count;
  uint32_t label_set;
  uint64_t block_size;
  unsigned size_class;
  double share; /* first what the samples estimate, then the row's value in bytes */
};

struct rss {
  struct live_row *rows;
  struct ha_sort_item *order; /* rows by key_of */
  size_t count, room;
  double estimates[HA_FOOTPRINT_CLASSES]; /* sums of the rows of a class */
  double overflow;                        /* the estimate of the overflow row, which is of no class */
  double not_sampled;
  double scale; /* of what was counted by OS page to what the kernel says */
  struct ha_footprint footprint;
  struct ha_rss_mappings mappings;
  char comment[COMMENT_SIZE];
};

/* Copying. */

static bool is_overflow(const struct live_row *row) {
  return row->frames[0] == HA_FRAME_OVERFLOW;
}

static bool is_large(const struct live_row *row) {
  return row->size_class >= HA_CLASS_COUNT && !is_overflow(row);
}

static uint64_t key_of(const uintptr_t *frames, uint32_t label_set, unsigned size_class) {
  return ((uintptr_t)frames ^ (uint64_t)label_set << 40 ^ (uint64_t)size_class << 20) *
         UINT64_C(0x9e3779b97f4a7c15);
}

/* Without room, rows are only counted. */
static void copy_row(const struct ha_row *row, void *arg) {
  struct rss *rss = arg;
  if (row->sampled[INUSE_SPACE] <= 0) {
    return;
  }
  if (rss->count < rss->room) {
    struct live_row *copy = &rss->rows[rss->count];
    *copy = (struct live_row){row->frames,
                              row->frame_count,
                              row->label_set,
                              row->block_size,
                              ha_footprint_class(row->block_size),
                              (double)row->values[INUSE_SPACE]};
    copy->share = is_large(copy) ? 0 : copy->share;
    rss->order[rss->count] =
        (struct ha_sort_item){key_of(copy->frames, copy->label_set, copy->size_class), (uint32_t)rss->count};
  }
  rss->count++;
}

static int copy_rows(struct rss *rss, const struct ha_kind_memory *memory) {
  struct ha_profile heap;
  ha_heap_profile(&heap, "heap", NULL);
  heap.visit(&heap, copy_row, rss);
  rss->room = rss->count + rss->count / 8 + SPARE_ROWS;
  rss->rows = ha_kind_alloc(memory, rss->room * sizeof *rss->rows);
  rss->order = ha_kind_alloc(memory, rss->room * sizeof *rss->order);
  if (rss->rows == NULL || rss->order == NULL) {
    return -ENOMEM;
  }
  rss->count = 0;
  heap.visit(&heap, copy_row, rss);
  rss->count = rss->count < rss->room ? rss->count : rss->room;
  ha_sort(rss->order, rss->count);
  return 0;
}

/* The first in order whose key is not less. */
static size_t find_key(const struct rss *rss, uint64_t key) {
  size_t low = 0, high = rss->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (rss->order[middle].key < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static void add_large(const struct ha_entry *entry, double blocks, uint64_t block_size, uint64_t resident,
                      void *arg) {
  struct rss *rss = arg;
  const uintptr_t *frames = entry->stack->frames;
  unsigned size_class = ha_footprint_class(block_size);
  uint64_t key = key_of(frames, entry->label_set, size_class);
  for (size_t i = find_key(rss, key); i < rss->count && rss->order[i].key == key; i++) {
    struct live_row *row = &rss->rows[rss->order[i].index];
    if (row->frames == frames && row->label_set == entry->label_set && row->size_class == size_class) {
      row->share += blocks * (double)resident;
      return;
    }
  }
}

/* Scaling. */

static void sum_estimates(struct rss *rss) {
  for (size_t i = 0; i < rss->count; i++) {
    const struct live_row *row = &rss->rows[i];
    *(is_overflow(row) ? &rss->overflow : &rss->estimates[row->size_class]) += row->share;
  }
}

/* What overflowed is taken from all classes alike. */
static void scale_rows(struct rss *rss) {
  const struct ha_footprint *footprint = &rss->footprint;
  double sum = rss->overflow;
  uint64_t counted = footprint->live_total + footprint->free_in_pages + footprint->idle;
  for (unsigned size_class = 0; size_class < HA_FOOTPRINT_CLASSES; size_class++) {
    sum += rss->estimates[size_class];
  }
  rss->scale = counted > 0 ? (double)rss->mappings.heap / (double)counted : 0;
  double overflowed = sum > 0 ? rss->overflow / sum : 0;
  for (size_t i = 0; i < rss->count; i++) {
    struct live_row *row = &rss->rows[i];
    double estimate = rss->estimates[row->size_class];
    double of_class = (1 - overflowed) * (estimate > 0 ? row->share / estimate : 0);
    row->share = rss->scale * (is_overflow(row) ? overflowed * (double)footprint->live_total
                                                : of_class * (double)footprint->live[row->size_class]);
  }
  for (unsigned size_class = 0; size_class < HA_FOOTPRINT_CLASSES; size_class++) {
    if (rss->estimates[size_class] <= 0) {
      rss->not_sampled += rss->scale * (1 - overflowed) * (double)footprint->live[size_class];
    }
  }
}

/* Showing. */

struct emission {
  ha_row_fn *fn;
  void *arg;
};

static void emit(const struct emission *emission, struct ha_row *row, double bytes) {
  row->values[0] = row->sampled[0] = (int64_t)(bytes + 0.5);
  if (row->values[0] > 0) {
    emission->fn(row, emission->arg);
  }
}

static void emit_synthetic(const struct emission *emission, enum ha_synthetic_frame frame, double bytes) {
  static const uintptr_t frames[HA_FRAME_SYNTHETIC_END][2] = {
      [HA_FRAME_NOT_SAMPLED] = {HA_FRAME_NOT_SAMPLED},
      [HA_FRAME_FREE_IN_PAGES] = {HA_FRAME_FREE_IN_PAGES},
      [HA_FRAME_IDLE] = {HA_FRAME_IDLE},
      [HA_FRAME_OWN] = {HA_FRAME_OWN},
      [HA_FRAME_STACKS] = {HA_FRAME_STACKS},
      [HA_FRAME_FILES] = {HA_FRAME_FILES, HA_FRAME_MAPPINGS},
      [HA_FRAME_ANONYMOUS] = {HA_FRAME_ANONYMOUS, HA_FRAME_MAPPINGS},
  };
  struct ha_row row = {.frames = frames[frame], .frame_count = frames[frame][1] != 0 ? 2 : 1};
  emit(emission, &row, bytes);
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  const struct rss *rss = profile->source;
  const struct emission emission = {fn, arg};
  for (size_t i = 0; i < rss->count; i++) {
    const struct live_row *live = &rss->rows[i];
    struct ha_row row = {.frames = live->frames,
                         .frame_count = live->frame_count,
                         .label_set = live->label_set,
                         .block_size = live->block_size};
    emit(&emission, &row, live->share);
  }
  emit_synthetic(&emission, HA_FRAME_NOT_SAMPLED, rss->not_sampled);
  emit_synthetic(&emission, HA_FRAME_FREE_IN_PAGES, rss->scale * (double)rss->footprint.free_in_pages);
  emit_synthetic(&emission, HA_FRAME_IDLE, rss->scale * (double)rss->footprint.idle);
  emit_synthetic(&emission, HA_FRAME_OWN, (double)rss->mappings.own);
  emit_synthetic(&emission, HA_FRAME_STACKS, (double)rss->mappings.stacks);
  emit_synthetic(&emission, HA_FRAME_FILES, (double)rss->mappings.files);
  emit_synthetic(&emission, HA_FRAME_ANONYMOUS, (double)rss->mappings.anonymous);
}

static void describe(struct rss *rss) {
  const struct ha_footprint *footprint = &rss->footprint;
  uint64_t live = footprint->live_total < footprint->blocks ? footprint->live_total : footprint->blocks;
  ha_format(
      rss->comment, sizeof rss->comment,
      "halloc: rss VmRSS=%lu total=%lu live=%lu not_resident=%lu not_sampled=%lu free_in_pages=%lu idle=%lu "
      "own=%lu stacks=%lu files=%lu anonymous=%lu",
      rss->mappings.process, rss->mappings.total, live, footprint->blocks - live, (uint64_t)rss->not_sampled,
      footprint->free_in_pages, footprint->idle, rss->mappings.own, rss->mappings.stacks, rss->mappings.files,
      rss->mappings.anonymous);
}

int ha_rss_profile(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  struct rss *rss = ha_kind_alloc(memory, sizeof *rss);
  int error = rss != NULL ? copy_rows(rss, memory) : -ENOMEM;
  if (error != 0) {
    return error;
  }
  ha_footprint_read(&rss->footprint, add_large, rss);
  error = ha_rss_mappings_read(&rss->mappings, memory);
  if (error != 0) {
    return error;
  }
  sum_estimates(rss);
  scale_rows(rss);
  describe(rss);
  *profile = (struct ha_profile){.name = name,
                                 .types = {{"rss_space", "bytes"}},
                                 .type_count = 1,
                                 .period_type = {"space", "bytes"},
                                 .period = ha_rate(),
                                 .comments = {rss->comment},
                                 .comment_count = 1,
                                 .label = ha_label_set_item,
                                 .visit = visit,
                                 .source = rss};
  return 0;
}
