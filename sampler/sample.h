/* SPDX-License-Identifier: MIT */
/*
 * A sample: one live block that was chosen to be recorded.
 *
 * The allocator keeps a struct ha_sample beside each sampled block (never inside it) and hands it back when the
 * block is freed, so that what the allocation added is taken away exactly, whatever the rate is by then.
 * Taking a sample: find its site (unwinds; holds nothing), get the block, record. A sample that cannot be taken is
 * dropped and counted; the allocation itself never fails or waits because of it.
 */
#ifndef HA_SAMPLER_SAMPLE_H
#define HA_SAMPLER_SAMPLE_H

#include "base/compiler.h"
#include "sampler/table.h"

struct ha_sample {
  struct ha_entry *entry;  /* atomic; NULL: not a live sample */
  uint64_t weight;         /* fixed point, HA_WEIGHT_SHIFT */
  uint32_t slack_and_mark; /* block size less the bytes asked for; below it, in 8 bits, the mark */
  uint32_t born;           /* ha_clock_ticks */
};

_Static_assert(sizeof(struct ha_sample) == 24, "a sample fits where a page has its list links");

#define HA_SAMPLE_MARK_BITS 8
#define HA_SAMPLE_SLACK_MAX (UINT32_MAX >> HA_SAMPLE_MARK_BITS)

enum ha_drop { HA_DROP_REENTRANT, HA_DROP_NO_MEMORY, HA_DROP_COUNT };

/* The table entry for the calling stack and labels; NULL (counted as dropped) if the thread is already in
 * here. block_size: what all blocks of the class have, 0 if they differ. */
struct ha_entry *ha_sample_site(uint32_t size_class, size_t block_size);

/* Counts a block as allocated at the site and makes *sample live. */
void ha_sample_record(struct ha_sample *sample, struct ha_entry *entry, size_t block_size, size_t requested,
                      int64_t rate);

/* Makes *sample live without counting anything, for a block that only lives among samples. */
void ha_sample_mark_uncounted(struct ha_sample *sample);

/* Counts the block as freed. False if *sample was not live: the block is being freed a second time. To be called while
 * no one else can be given the block's address, and before anyone can. */
bool ha_sample_retire(struct ha_sample *sample, const void *block, size_t block_size);

/* Whether an entry that was read from a sample counts it: not if it is not live or was never counted. */
bool ha_sample_is_counted(const struct ha_entry *entry);

/* Gets the copy of a live sample and the size of its block. */
typedef void ha_live_sample_fn(const struct ha_sample *sample, size_t block_size, void *arg);

/* While paused, what the calling thread allocates is not sampled (and counted as dropped if due). Returns whether it was
 * paused. */
bool ha_sample_pause(bool is_paused);

/* Counts a due sample that could not be recorded. */
void ha_sample_drop(enum ha_drop reason);

uint64_t ha_samples_dropped(enum ha_drop reason);

/* Name of a reason, for metrics and comments. */
const char *ha_drop_name(enum ha_drop reason);

#endif
