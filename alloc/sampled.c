/* SPDX-License-Identifier: MIT */
/*
 * Sampled allocations, from finding the site to the record. Order matters: the stack is walked first, holding
 * nothing; then a heap is borrowed just for the block.
 */
#include "alloc/sampled.h"

#include "alloc/heap_pool.h"
#include "alloc/page_map.h"
#include "base/log.h"
#include "base/meta.h"
#include "sampler/interval.h"
#include "sampler/probe.h"
#include "sampler/sample.h"

#define CHUNK_BYTES (HA_SAMPLE_CHUNK * sizeof(struct ha_sample))

static size_t chunk_count(const struct ha_page *page) {
  return (page->capacity + HA_SAMPLE_CHUNK - 1) / HA_SAMPLE_CHUNK;
}

bool ha_sampled_page_prepare(struct ha_page *page) {
  page->sample_chunks = ha_meta_alloc(chunk_count(page) * sizeof *page->sample_chunks, HA_META_PROFILE);
  page->is_sampled = page->sample_chunks != NULL;
  return page->is_sampled;
}

uint32_t ha_sampled_page_extend(struct ha_page *page, uint32_t count) {
  if (page->cut == page->capacity) {
    return 0;
  }
  struct ha_sample **chunk = &page->sample_chunks[page->cut / HA_SAMPLE_CHUNK];
  uint32_t room = HA_SAMPLE_CHUNK - page->cut % HA_SAMPLE_CHUNK;
  if (*chunk == NULL) {
    *chunk = ha_meta_alloc(CHUNK_BYTES, HA_META_PROFILE);
  }
  if (*chunk == NULL) {
    return 0;
  }
  return count < room ? count : room;
}

void ha_sampled_page_done(struct ha_page *page) {
  if (!page->is_sampled) {
    return;
  }
  struct ha_sample **chunks = page->sample_chunks;
  /* Before the memory can be used for anything else: tells the readers of live.h that what they have is not valid. */
  ha_page_begin_change(page);
  page->is_sampled = false;
  page->sample_chunks = NULL;
  ha_page_end_change(page);
  for (size_t i = 0; i < chunk_count(page) && chunks[i] != NULL; i++) {
    ha_meta_free(chunks[i], CHUNK_BYTES, HA_META_PROFILE);
  }
  ha_meta_free(chunks, chunk_count(page) * sizeof *chunks, HA_META_PROFILE);
}

static struct ha_sample *sample_of(const void *block) {
  struct ha_page *page = ha_page_of(block);
  size_t index = (size_t)ha_page_block_index(page, block);
  return &page->sample_chunks[index / HA_SAMPLE_CHUNK][index % HA_SAMPLE_CHUNK];
}

static void *block_from_pool(unsigned size_class, size_t requested) {
  struct ha_heap *heap = ha_heap_borrow();
  if (heap == NULL) {
    return NULL;
  }
  void *block = ha_heap_alloc(heap, size_class, requested);
  ha_heap_return(heap);
  return block;
}

void *ha_sampled_alloc(unsigned size_class, size_t requested, int64_t rate) {
  struct ha_entry *entry = ha_sample_site(size_class, ha_class_size(size_class));
  if (entry == NULL) {
    return NULL;
  }
  void *block = block_from_pool(size_class, requested);
  if (block == NULL) {
    ha_sample_drop(HA_DROP_NO_MEMORY);
    return NULL;
  }
  struct ha_sample *sample = sample_of(block);
  ha_sample_record(sample, entry, ha_class_size(size_class), requested, rate);
  ha_probe_alloc(block, ha_class_size(size_class), sample->weight);
  return block;
}

void *ha_homeless_alloc(unsigned size_class, size_t requested) {
  struct ha_random random;
  ha_random_seed(&random, ha_random_fresh_seed());
  int64_t rate = ha_rate();
  if (ha_interval_hits(&random, ha_class_size(size_class), rate)) {
    void *sampled = ha_sampled_alloc(size_class, requested, rate);
    if (sampled != NULL) {
      return sampled;
    }
  }
  void *block = block_from_pool(size_class, requested);
  if (block != NULL) {
    ha_sample_mark_uncounted(sample_of(block));
  }
  return block;
}

void ha_sampled_free(struct ha_page *page, void *block) {
  if (!ha_sample_retire(sample_of(block), block, page->block_size)) {
    ha_die("free(%p): this block was freed before (double free)", block);
  }
}
