/* SPDX-License-Identifier: MIT */
/*
 * Counts per (stack, label set): what every profile but the heap's adds up in.
 *
 * A tally is one reserved range: chain heads, then entries one behind the other, with their frames in them.
 * It is bounded by its size; what finds no room is added to the overflow entry, whose stack is the one frame
 * "[overflow]". Adding is lock-free and async-signal-safe, and never waits; entries live as long as the
 * tally. An entry takes 80 bytes and 8 per frame. Only what was touched is resident.
 */
#ifndef HA_SAMPLER_TALLY_H
#define HA_SAMPLER_TALLY_H

#include <stddef.h>

#include "sampler/rows.h"

#define HA_TALLY_VALUES 2

struct ha_tally;

/* NULL without memory. size: a multiple of the OS page, at least 1 MiB. */
struct ha_tally *ha_tally_new(size_t size);

/* A tally in zeroed memory of the caller's, with room for that many rows of that many frames together. */
size_t ha_tally_size(size_t rows, size_t frames);
struct ha_tally *ha_tally_at(void *memory, size_t size);

/* Of ha_tally_new. Nobody may be adding any more. NULL is allowed. */
void ha_tally_free(struct ha_tally *tally);

/* Adds to both values of the entry of a key. Any thread, also in a signal handler. */
void ha_tally_add(struct ha_tally *tally, const uintptr_t *frames, uint32_t frame_count, uint32_t label_set,
                  int64_t first, int64_t second);

/* Bytes of it that hold something. */
size_t ha_tally_bytes(const struct ha_tally *tally);

/* The first value of the overflow entry. */
int64_t ha_tally_overflow(const struct ha_tally *tally);

/* Shows every entry as a row with its two values, the overflow entry last and only if it was needed. No
 * lock. A profile's visit, with the tally as its source. */
void ha_tally_visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg);

/* The same, of what was added since the last commit; and takes what the last such visit showed as seen. HA_RANK_PROFILE
 * is held from the visit to the commit. */
void ha_tally_visit_delta(const struct ha_profile *profile, ha_row_fn *fn, void *arg);
void ha_tally_commit_delta(struct ha_tally *tally);

#endif
