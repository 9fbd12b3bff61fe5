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
#include "sampler/sample.h"

bool ha_sampled_page_prepare(struct ha_page *page) {
  page->samples = ha_meta_alloc(page->capacity * sizeof *page->samples, HA_META_PROFILE);
  page->is_sampled = page->samples != NULL;
  return page->is_sampled;
}

void ha_sampled_page_done(struct ha_page *page) {
  if (page->is_sampled) {
    ha_meta_free(page->samples, page->capacity * sizeof *page->samples, HA_META_PROFILE);
    page->samples = NULL;
    page->is_sampled = false;
  }
}

static struct ha_sample *sample_of(const void *block) {
  struct ha_page *page = ha_page_of(block);
  return &page->samples[ha_page_block_index(page, block)];
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
  struct ha_entry *entry = ha_sample_site(size_class);
  if (entry == NULL) {
    return NULL;
  }
  void *block = block_from_pool(size_class, requested);
  if (block == NULL) {
    ha_sample_drop(HA_DROP_NO_MEMORY);
    return NULL;
  }
  ha_sample_record(sample_of(block), entry, ha_class_size(size_class), requested, rate);
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
  if (!ha_sample_retire(sample_of(block), page->block_size)) {
    ha_die("free(%p): this block was freed before (double free)", block);
  }
}
