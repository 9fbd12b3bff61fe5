/* SPDX-License-Identifier: MIT */
/*
 * Best fit over bins of free spans: exact lengths up to 64 slices, then eight bins per doubling. Within a bin
 * the shortest span that fits is taken (bins above 64 slices hold spans that differ by at most 12.5 %).
 */
#include "alloc/arena.h"

#include <string.h>

#include "alloc/backing.h"
#include "alloc/descriptor.h"
#include "alloc/page_map.h"
#include "alloc/size_class.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/meta.h"

#define ARENA_MAX 512
#define FIRST_ARENA ((size_t)64 * 1024 * 1024)
#define LARGEST_ARENA ((size_t)4 * 1024 * 1024 * 1024)
#define EXACT_BINS 64
#define BIN_COUNT 256
#define BITS 64
/* Where most blocks are samples there are many such pages: beyond this they use memory again like all others. */
#define FAR_PAGES_MAX 48 /* 3 MiB */
#define SCAN_MAX 32      /* spans of one bin looked at for a fit */

struct arena {
  char *start;
  size_t slices;
  uint64_t *touched; /* bit per slice: was handed out */
};

static struct {
  struct arena arenas[ARENA_MAX];
  unsigned count;
  struct ha_page_list bins[BIN_COUNT];
  uint64_t bin_used[BIN_COUNT / BITS]; /* bit per bin: not empty */
  unsigned far_pages;                  /* in use */
  struct ha_arena_totals totals;       /* read without the lock */
} space;

/* Slices that were never handed out. */

static bool is_touched(const struct arena *arena, size_t slice) {
  return (arena->touched[slice / BITS] >> (slice % BITS) & 1) != 0;
}

static size_t fresh_slices(const struct ha_page *span) {
  const struct arena *arena = &space.arenas[span->arena];
  size_t first = (size_t)(span->start - arena->start) >> HA_SLICE_SHIFT;
  size_t fresh = 0;
  for (size_t slice = first; slice < first + span->slices; slice++) {
    fresh += !is_touched(arena, slice);
  }
  return fresh;
}

/* Notes that the span's memory may be written from now on. */
static void touch(struct ha_page *span) {
  struct arena *arena = &space.arenas[span->arena];
  size_t first = (size_t)(span->start - arena->start) >> HA_SLICE_SHIFT;
  size_t fresh = fresh_slices(span);
  span->is_fresh = fresh == span->slices;
  ha_owner_add(&space.totals.fresh_free_slices, -(uint64_t)fresh);
  for (size_t slice = first; slice < first + span->slices; slice++) {
    arena->touched[slice / BITS] |= (uint64_t)1 << (slice % BITS);
  }
}

/* Bins. */

static unsigned bin_of(size_t slices) {
  if (slices <= EXACT_BINS) {
    return (unsigned)slices - 1;
  }
  unsigned log = 63 - (unsigned)__builtin_clzl(slices);
  unsigned bin = EXACT_BINS + (log - 6) * 8 + (unsigned)((slices >> (log - 3)) & 7);
  return bin < BIN_COUNT ? bin : BIN_COUNT - 1;
}

/* Shows a free span to its neighbours and to allocation. */
static void insert(struct ha_page *span) {
  unsigned bin = bin_of(span->slices);
  ha_store_release(&span->kind, HA_PAGE_FREE);
  ha_page_map_set(span->start, 1, span);
  ha_page_map_set(span->start + (span->slices - 1) * HA_SLICE, 1, span);
  ha_page_list_push_first(&space.bins[bin], span);
  space.bin_used[bin / BITS] |= (uint64_t)1 << (bin % BITS);
}

static void withdraw(struct ha_page *span) {
  /* At once, not when its user gets to it: until then a neighbour being freed must not take it for free. */
  ha_store_relaxed(&span->kind, HA_PAGE_UNUSED);
  unsigned bin = bin_of(span->slices);
  ha_page_list_remove(&space.bins[bin], span);
  if (space.bins[bin].first == NULL) {
    space.bin_used[bin / BITS] &= ~((uint64_t)1 << (bin % BITS));
  }
  ha_page_map_set(span->start, 1, NULL);
  ha_page_map_set(span->start + (span->slices - 1) * HA_SLICE, 1, NULL);
}

/* Slices to skip at the span's start so that `slices` aligned ones follow; larger than the span if they do
 * not fit. */
static size_t lead_of(const struct ha_page *span, size_t slices, size_t alignment) {
  uintptr_t start = (uintptr_t)span->start;
  size_t lead = (ha_align_up(start, alignment) - start) >> HA_SLICE_SHIFT;
  return lead + slices <= span->slices ? lead : SIZE_MAX;
}

/* The best of the first spans of a bin. */
static struct ha_page *fit_in_bin(unsigned bin, size_t slices, size_t alignment) {
  struct ha_page *best = NULL;
  int looked_at = 0;
  for (struct ha_page *span = space.bins[bin].first; span != NULL; span = span->next) {
    if (lead_of(span, slices, alignment) != SIZE_MAX && (best == NULL || span->slices < best->slices)) {
      best = span;
    }
    if (++looked_at >= SCAN_MAX && best != NULL) {
      break;
    }
  }
  return best;
}

static struct ha_page *find_fit(size_t slices, size_t alignment) {
  for (unsigned bin = bin_of(slices); bin < BIN_COUNT; bin++) {
    uint64_t used = space.bin_used[bin / BITS] >> (bin % BITS);
    if (used == 0) {
      bin |= BITS - 1; /* nothing more in this word */
      continue;
    }
    bin += (unsigned)__builtin_ctzl(used);
    struct ha_page *span = fit_in_bin(bin, slices, alignment);
    if (span != NULL) {
      return span;
    }
  }
  return NULL;
}

/* Arenas. */

static size_t next_arena_size(size_t least) {
  size_t doublings = space.count / 2; /* two of each size, so that the first doublings do not overshoot */
  size_t size = doublings < 6 ? FIRST_ARENA << doublings : LARGEST_ARENA;
  return size < least ? least : size;
}

static bool add_arena(size_t least_slices, size_t alignment) {
  if (space.count == ARENA_MAX) {
    return false;
  }
  size_t least = least_slices * HA_SLICE + (alignment > HA_SLICE ? alignment : 0);
  struct ha_page *span = ha_descriptor_alloc_locked();
  if (span == NULL) {
    return false;
  }
  struct arena *arena = &space.arenas[space.count];
  size_t size;
  arena->start = ha_backing_reserve(next_arena_size(least), least, &size);
  if (arena->start == NULL) {
    ha_descriptor_free_locked(span);
    return false;
  }
  arena->slices = size >> HA_SLICE_SHIFT;
  arena->touched = ha_meta_alloc((arena->slices + BITS - 1) / BITS * sizeof(uint64_t), HA_META_SPANS);
  if (arena->touched == NULL || !ha_page_map_cover(arena->start, size)) {
    /* The range is lost, untouched: it costs address space only. */
    ha_descriptor_free_locked(span);
    return false;
  }
  span->start = arena->start;
  span->slices = (uint32_t)arena->slices;
  span->arena = (uint16_t)space.count++;
  ha_owner_add(&space.totals.slices, arena->slices);
  ha_owner_add(&space.totals.free_slices, arena->slices);
  ha_owner_add(&space.totals.fresh_free_slices, arena->slices);
  insert(span);
  return true;
}

/* The equations of arena.h, over all arenas: spans follow each other without gap, free ones do not touch, and
 * the slices add up. Debug builds, now and then: it walks every span. */
#if HA_CHECKS
#define CHECK_EVERY 64

static void check_arena(const struct arena *arena, uint64_t *free_slices) {
  bool was_free = false;
  const char *end = arena->start + arena->slices * HA_SLICE;
  for (const char *at = arena->start; at < end;) {
    const struct ha_page *span = ha_page_of(at);
    bool is_free = span != NULL && span->kind == HA_PAGE_FREE;
    if (span == NULL || span->start != at || span->slices == 0 || (is_free && was_free)) {
      ha_die("arena at %p is broken at %p", (void *)arena->start, (const void *)at);
    }
    *free_slices += is_free ? span->slices : 0;
    was_free = is_free;
    at += span->slices * HA_SLICE;
  }
}

static void check_arenas(void) {
  static unsigned calls;
  if (++calls % CHECK_EVERY != 0) {
    return;
  }
  uint64_t free_slices = 0;
  for (unsigned i = 0; i < space.count; i++) {
    check_arena(&space.arenas[i], &free_slices);
  }
  if (free_slices != space.totals.free_slices) {
    ha_die("arenas: %lu slices are free, counted were %lu", free_slices, space.totals.free_slices);
  }
}
#else
HA_INLINE void check_arenas(void) {
}
#endif

/* Spans. */

/* Cuts [from, from + slices) of a withdrawn span off into a new free span. False without a descriptor. */
static bool split_off(struct ha_page *span, size_t from, size_t slices) {
  if (slices == 0) {
    return true;
  }
  struct ha_page *part = ha_descriptor_alloc_locked();
  if (part == NULL) {
    return false;
  }
  part->start = span->start + from * HA_SLICE;
  part->slices = (uint32_t)slices;
  part->arena = span->arena;
  insert(part);
  return true;
}

static struct ha_page *find_largest(void) {
  for (unsigned word = HA_ARRAY_LEN(space.bin_used); word-- > 0;) {
    uint64_t used = space.bin_used[word];
    if (used != 0) {
      return space.bins[word * BITS + (BITS - 1 - (unsigned)__builtin_clzl(used))].first;
    }
  }
  return NULL;
}

/* Makes a used span of a withdrawn free one that has the right length by now. */
static struct ha_page *use(struct ha_page *span) {
  ha_owner_add(&space.totals.free_slices, -(uint64_t)span->slices);
  touch(span);
  ha_page_map_set(span->start, 1, span);
  check_arenas();
  return span;
}

/* From the end of the largest free span; NULL if that is not longer than wanted. */
static struct ha_page *cut_from_largest(size_t slices) {
  struct ha_page *span = find_largest();
  if (span == NULL || span->slices <= slices || space.far_pages == FAR_PAGES_MAX) {
    return NULL;
  }
  size_t rest = span->slices - slices;
  withdraw(span);
  if (!split_off(span, 0, rest)) {
    insert(span);
    return NULL;
  }
  span->start += rest * HA_SLICE;
  span->slices = (uint32_t)slices;
  span->is_far = true;
  space.far_pages++;
  return use(span);
}

struct ha_page *ha_span_alloc_locked(size_t slices, size_t alignment) {
  struct ha_page *span = ha_span_reuse_locked(slices, alignment);
  if (span == NULL && add_arena(slices, alignment)) {
    span = ha_span_reuse_locked(slices, alignment);
  }
  return span;
}

struct ha_page *ha_span_reuse_locked(size_t slices, size_t alignment) {
  ha_lock_assert_held(HA_RANK_ARENA);
  struct ha_page *span = find_fit(slices, alignment);
  if (span == NULL) {
    return NULL;
  }
  size_t lead = lead_of(span, slices, alignment);
  withdraw(span);
  size_t tail = span->slices - lead - slices;
  if (!split_off(span, lead + slices, tail)) {
    insert(span);
    return NULL;
  }
  span->slices = (uint32_t)(lead + slices);
  if (!split_off(span, 0, lead)) {
    insert(span);
    return NULL;
  }
  span->start += lead * HA_SLICE;
  span->slices = (uint32_t)slices;
  return use(span);
}

/* Takes a free neighbour into the span, if there is one. */
static void merge(struct ha_page *span, const char *inside_neighbour) {
  const struct arena *arena = &space.arenas[span->arena];
  if (inside_neighbour < arena->start || inside_neighbour >= arena->start + arena->slices * HA_SLICE) {
    return;
  }
  struct ha_page *neighbour = ha_page_of(inside_neighbour);
  if (neighbour == NULL || neighbour->kind != HA_PAGE_FREE) {
    return;
  }
  withdraw(neighbour);
  span->start = neighbour->start < span->start ? neighbour->start : span->start;
  span->slices += neighbour->slices;
  ha_descriptor_free_locked(neighbour);
}

void ha_span_free_locked(struct ha_page *span) {
  ha_lock_assert_held(HA_RANK_ARENA);
  size_t mapped = span->kind == HA_PAGE_BLOCKS ? span->slices : 1;
  ha_page_map_set(span->start, mapped, NULL);
  ha_owner_add(&space.totals.free_slices, span->slices);
  merge(span, span->start - 1);
  merge(span, span->start + span->slices * HA_SLICE);
  insert(span);
  check_arenas();
}

bool ha_span_extend_locked(struct ha_page *span, size_t slices) {
  ha_lock_assert_held(HA_RANK_ARENA);
  const struct arena *arena = &space.arenas[span->arena];
  char *end = span->start + span->slices * HA_SLICE;
  size_t more = slices - span->slices;
  if (end >= arena->start + arena->slices * HA_SLICE) {
    return false;
  }
  struct ha_page *behind = ha_page_of(end);
  if (behind == NULL || behind->kind != HA_PAGE_FREE || behind->slices < more) {
    return false;
  }
  withdraw(behind);
  size_t rest = behind->slices - more;
  behind->slices = (uint32_t)more;
  ha_owner_add(&space.totals.free_slices, -(uint64_t)more);
  touch(behind);
  if (rest > 0) {
    /* The descriptor of the neighbour serves the rest. */
    behind->start += more * HA_SLICE;
    behind->slices = (uint32_t)rest;
    insert(behind);
  } else {
    ha_descriptor_free_locked(behind);
  }
  span->slices = (uint32_t)slices;
  return true;
}

struct ha_page *ha_page_alloc(unsigned size_class, bool for_samples) {
  size_t slices = ha_page_slices(size_class);
  ha_lock(HA_RANK_ARENA);
  struct ha_page *page = for_samples && slices == 1 ? cut_from_largest(slices) : NULL;
  if (page == NULL) {
    page = ha_span_alloc_locked(slices, HA_SLICE);
  }
  if (page != NULL) {
    ha_page_map_set(page->start, slices, page);
  }
  ha_unlock(HA_RANK_ARENA);
  if (page != NULL) {
    ha_page_init(page, size_class);
  }
  return page;
}

void ha_page_release(struct ha_page *page) {
  ha_lock(HA_RANK_ARENA);
  ha_store_relaxed(&page->owner, NULL);
  ha_store_relaxed(&page->heap, NULL);
  space.far_pages -= page->is_far;
  page->is_far = false;
  ha_span_free_locked(page);
  ha_unlock(HA_RANK_ARENA);
}

struct ha_arena_totals ha_arena_totals(void) {
  struct ha_arena_totals totals;
  totals.fresh_free_slices = ha_load_relaxed(&space.totals.fresh_free_slices);
  totals.free_slices = ha_load_relaxed(&space.totals.free_slices);
  totals.slices = ha_load_relaxed(&space.totals.slices);
  return totals;
}
