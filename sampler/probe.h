/* SPDX-License-Identifier: MIT */
/*
 * Static probes for tracers: OpenTelemetry's provider `otel_memory`, as SystemTap SDT v3 notes
 * (docs/probes.md).
 *
 *   alloc(ptr, size, weighted_bytes)   a block has become a live sample
 *   free(ptr)                          a live sample is being freed, before its address is handed out again
 *
 * size is the block size and weighted_bytes that times the weight, so that weighted_bytes / size is the
 * number of blocks that the sample stands for, as in the profiles. For one address the events alternate,
 * alloc first.
 *
 * A tracer that attaches to a probe raises its semaphore, a counter in this process. Until then a sample pays
 * for one load and a branch that is not taken; blocks that are not sampled pay nothing. With a tracer the
 * probe is a nop on which the tracer puts its breakpoint.
 */
#ifndef HA_SAMPLER_PROBE_H
#define HA_SAMPLER_PROBE_H

#include "base/compiler.h"

/* Written by tracers, through the kernel: counts those that are attached. */
extern volatile uint16_t ha_probe_alloc_semaphore __attribute__((visibility("hidden")));
extern volatile uint16_t ha_probe_free_semaphore __attribute__((visibility("hidden")));

/* The probe sites. weight: fixed point, HA_WEIGHT_SHIFT. */
void ha_probe_fire_alloc(const void *block, size_t block_size, uint64_t weight);
void ha_probe_fire_free(const void *block);

HA_INLINE void ha_probe_alloc(const void *block, size_t block_size, uint64_t weight) {
  if (ha_unlikely(ha_probe_alloc_semaphore != 0)) {
    ha_probe_fire_alloc(block, block_size, weight);
  }
}

HA_INLINE void ha_probe_free(const void *block) {
  if (ha_unlikely(ha_probe_free_semaphore != 0)) {
    ha_probe_fire_free(block);
  }
}

#endif
