/* SPDX-License-Identifier: MIT */
/*
 * Chunk by chunk: the records are copied, then the page's version is looked at, then the copies are handed on.
 */
#include "alloc/live.h"

#include <sched.h>

#include "alloc/descriptor.h"
#include "alloc/sampled.h"

/* A page is only changed in slow paths. Halfway through the tries, whoever changes it is given time to end. */
#define TRIES 64

struct walk {
  ha_live_sample_fn *fn;
  void *arg;
};

/* What was read together. */
struct batch {
  uint32_t count;
  size_t block_size;
  struct ha_sample samples[HA_SAMPLE_CHUNK];
};

/* A record whose block was freed and given out again in between has two different halves; they are of one entry then,
 * or it is left out. */
static void copy_record(struct batch *batch, const struct ha_sample *from) {
  struct ha_sample copy;
  copy.entry = ha_load_acquire(&from->entry);
  copy.weight = ha_load_relaxed(&from->weight);
  copy.slack_and_mark = ha_load_relaxed(&from->slack_and_mark);
  copy.born = ha_load_relaxed(&from->born);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (ha_sample_is_counted(copy.entry) && ha_load_relaxed(&from->entry) == copy.entry) {
    batch->samples[batch->count++] = copy;
  }
}

/* The records of one chunk of a page of blocks. False if there is no such chunk. */
static bool copy_chunk(const struct ha_page *page, uint32_t version, size_t index, struct batch *batch) {
  struct ha_sample **chunks = ha_load_relaxed(&page->sample_chunks);
  size_t count = (ha_load_relaxed(&page->cut) + HA_SAMPLE_CHUNK - (size_t)1) / HA_SAMPLE_CHUNK;
  batch->block_size = ha_load_relaxed(&page->block_size);
  if (!ha_page_is_unchanged(page, version) || chunks == NULL || index >= count) {
    return false;
  }
  const struct ha_sample *chunk = ha_load_acquire(&chunks[index]);
  /* The array was one when the pointer was read from it; the chunk may end at any time, which the caller finds out. */
  if (!ha_page_is_unchanged(page, version) || chunk == NULL) {
    return false;
  }
  for (unsigned i = 0; i < HA_SAMPLE_CHUNK; i++) {
    copy_record(batch, &chunk[i]);
  }
  return true;
}

/* One batch of a page; false if there is none of that index. */
static bool copy_batch(const struct ha_page *page, uint32_t version, size_t index, struct batch *batch) {
  batch->count = 0;
  if (!ha_load_acquire(&page->is_sampled)) {
    return false;
  }
  switch (ha_load_acquire(&page->kind)) {
  case HA_PAGE_BLOCKS:
    return copy_chunk(page, version, index, batch);
  case HA_PAGE_LARGE:
  case HA_PAGE_HUGE:
    batch->block_size = ha_load_relaxed(&page->block_size);
    if (index == 0) {
      copy_record(batch, &page->sample);
    }
    return index == 0;
  default:
    return false;
  }
}

/* False beyond the last batch, or if the page would not hold still. */
static bool read_batch(const struct ha_page *page, size_t index, struct batch *batch) {
  for (int i = 0; i < TRIES; i++) {
    uint32_t version = ha_load_acquire(&page->version);
    bool is_there = copy_batch(page, version, index, batch);
    if (ha_page_is_unchanged(page, version)) {
      return is_there;
    }
    if (i >= TRIES / 2) {
      sched_yield();
    }
  }
  return false;
}

static void visit_page(const struct ha_page *page, void *arg) {
  const struct walk *walk = arg;
  struct batch batch;
  for (size_t index = 0; read_batch(page, index, &batch); index++) {
    for (uint32_t i = 0; i < batch.count; i++) {
      walk->fn(&batch.samples[i], batch.block_size, walk->arg);
    }
  }
}

void ha_live_visit(ha_live_sample_fn *fn, void *arg) {
  struct walk walk = {fn, arg};
  ha_descriptor_visit(visit_page, &walk);
}
