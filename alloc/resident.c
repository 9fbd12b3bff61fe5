/* SPDX-License-Identifier: MIT */
/*
 * Bits in words of 64; neighbouring spans may share a word, hence the atomic operations.
 */
#include "alloc/resident.h"

#include "base/atomic.h"
#include "base/meta.h"
#include "base/os.h"

#define BITS 64

/* Written before the arena's first span is handed out. */
static struct {
  const char *start;
  uint64_t *bits;
} arenas[HA_ARENA_MAX];

static uint64_t resident; /* atomic */

bool ha_resident_add_arena(unsigned arena, char *start, size_t size) {
  size_t words = (size / HA_OS_PAGE + BITS - 1) / BITS;
  arenas[arena].start = start;
  arenas[arena].bits = ha_meta_alloc(words * sizeof(uint64_t), HA_META_SPANS);
  return arenas[arena].bits != NULL;
}

/* The part of a range of bits that lies in one word. */
struct part {
  uint64_t *word;
  uint64_t mask;
};

/* A range of OS pages that is walked word by word. */
struct range {
  uint64_t *bits;
  size_t next;
  size_t end;
};

static struct range range_of(unsigned arena, const char *start, size_t size) {
  size_t offset = (size_t)(start - arenas[arena].start);
  return (struct range){arenas[arena].bits, offset / HA_OS_PAGE,
                        (offset + size + HA_OS_PAGE - 1) / HA_OS_PAGE};
}

static bool next_part(struct range *range, struct part *part) {
  if (range->next >= range->end) {
    return false;
  }
  size_t low = range->next % BITS;
  size_t room = BITS - low;
  size_t count = range->end - range->next < room ? range->end - range->next : room;
  part->word = &range->bits[range->next / BITS];
  part->mask = (count == BITS ? UINT64_MAX : ((uint64_t)1 << count) - 1) << low;
  range->next += count;
  return true;
}

static size_t bits_in(uint64_t word) {
  return (size_t)__builtin_popcountll(word);
}

size_t ha_resident_set(unsigned arena, const char *start, size_t size) {
  struct range range = range_of(arena, start, size);
  struct part part;
  size_t changed = 0;
  while (next_part(&range, &part)) {
    if ((ha_load_relaxed(part.word) & part.mask) != part.mask) {
      changed += bits_in(part.mask & ~__atomic_fetch_or(part.word, part.mask, __ATOMIC_RELAXED));
    }
  }
  if (changed != 0) {
    ha_add_relaxed(&resident, changed);
  }
  return changed;
}

size_t ha_resident_clear(unsigned arena, const char *start, size_t size) {
  struct range range = range_of(arena, start, size);
  struct part part;
  size_t changed = 0;
  while (next_part(&range, &part)) {
    changed += bits_in(part.mask & __atomic_fetch_and(part.word, ~part.mask, __ATOMIC_RELAXED));
  }
  ha_add_relaxed(&resident, -(uint64_t)changed);
  return changed;
}

size_t ha_resident_count(unsigned arena, const char *start, size_t size) {
  struct range range = range_of(arena, start, size);
  struct part part;
  size_t count = 0;
  while (next_part(&range, &part)) {
    count += bits_in(part.mask & ha_load_relaxed(part.word));
  }
  return count;
}

uint64_t ha_resident_pages(void) {
  return ha_load_relaxed(&resident);
}
