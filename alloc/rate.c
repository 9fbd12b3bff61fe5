/* SPDX-License-Identifier: MIT */
/*
 * The public way to change the rate: the sampler's setting, plus what makes it hold for the caller at once.
 */
#include "alloc/thread.h"
#include "halloc.h"
#include "sampler/interval.h"

HA_EXPORT int64_t hp_set_mem_profile_rate(int64_t bytes) {
  struct ha_heap *heap = ha_thread_heap_or_new();
  int64_t previous = ha_rate_set(bytes);
  if (heap != NULL && bytes >= 0) {
    ha_heap_redraw(heap);
  }
  return previous;
}
