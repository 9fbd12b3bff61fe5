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
#include "alloc/park.h"
#include "alloc/resident.h"
#include "alloc/size_class.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/meta.h"

#define FIRST_ARENA ((size_t)64 * 1024 * 1024)
#define LARGEST_ARENA ((size_t)4 * 1024 * 1024 * 1024)
#define EXACT_BINS 64
#define BIN_COUNT 256
#define BITS 64 /* of a word */
/* Where most blocks are samples there are many such pages: beyond this they use memory again like all others. */
#define FAR_PAGES_MAX 48 /* 3 MiB */
#define SCAN_MAX 32      /* spans of one bin looked at for a fit */

struct arena {
  char *start;
  size_t slices;
};

static struct {
  struct arena arenas[HA_ARENA_MAX];
  unsigned count;
  struct ha_page_list bins[BIN_COUNT];
  uint64_t bin_used[BIN_COUNT / BITS]; /* bit per bin: not empty */
  uint64_t bin_resident[BIN_COUNT];    /* resident OS pages of the bin's spans */
  unsigned far_pages;                  /* in use */
  uint64_t withdrawn;                  /* slices whose memory is being released: free, but on no bin */
  uint64_t peak;                       /* most slices in use since it was asked; atomic */
  struct ha_arena_totals totals;       /* read without the lock */
} space;

/* Resident OS pages in a part of a span. */
static uint32_t count_resident(const struct ha_page *span, size_t from, size_t slices) {
  return (uint32_t)ha_resident_count(span->arena, span->start + from * HA_SLICE, slices * HA_SLICE);
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
  /* What was used last is used next, and what takes memory comes before what does not. */
  if (span->resident > 0) {
    ha_page_list_push_first(&space.bins[bin], span);
  } else {
    ha_page_list_push(&space.bins[bin], span);
  }
  space.bin_resident[bin] += span->resident;
  space.bin_used[bin / BITS] |= (uint64_t)1 << (bin % BITS);
}

static void withdraw(struct ha_page *span) {
  /* At once, not when its user gets to it: until then a neighbour being freed must not take it for free. */
  ha_store_relaxed(&span->kind, HA_PAGE_UNUSED);
  unsigned bin = bin_of(span->slices);
  ha_page_list_remove(&space.bins[bin], span);
  space.bin_resident[bin] -= span->resident;
  if (space.bins[bin].first == NULL) {
    space.bin_used[bin / BITS] &= ~((uint64_t)1 << (bin % BITS));
  }
  ha_page_map_set(span->start, 1, NULL);
  ha_page_map_set(span->start + (span->slices - 1) * HA_SLICE, 1, NULL);
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
  span->resident += neighbour->resident;
  ha_descriptor_free_locked(neighbour);
}

/* Makes a withdrawn span a free one. */
static void insert_merged(struct ha_page *span) {
  merge(span, span->start - 1);
  merge(span, span->start + span->slices * HA_SLICE);
  insert(span);
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
  if (space.count == HA_ARENA_MAX) {
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
  if (!ha_resident_add_arena(space.count, arena->start, size) || !ha_page_map_cover(arena->start, size)) {
    /* The range is lost, untouched: it costs address space only. */
    ha_descriptor_free_locked(span);
    return false;
  }
  span->start = arena->start;
  span->slices = (uint32_t)arena->slices;
  span->resident = 0;
  span->arena = (uint16_t)space.count++;
  ha_owner_add(&space.totals.slices, arena->slices);
  ha_owner_add(&space.totals.free_slices, arena->slices);
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
  if (free_slices + space.withdrawn != space.totals.free_slices) {
    ha_die("arenas: %lu slices are free, counted were %lu", free_slices + space.withdrawn,
           space.totals.free_slices);
  }
}
#else
HA_INLINE void check_arenas(void) {
}
#endif

/* Spans. */

/* Cuts [from, from + slices), of which `resident` OS pages are, of a withdrawn span off into a new free span. False
 * without a descriptor. */
static bool split_off(struct ha_page *span, size_t from, size_t slices, uint32_t resident) {
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
  part->resident = resident;
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

static void note_peak(void) {
  uint64_t used = space.totals.slices - space.totals.free_slices;
  if (used > ha_load_relaxed(&space.peak)) {
    ha_store_relaxed(&space.peak, used);
  }
}

/* Makes a used span of a withdrawn free one that has the right length by now. */
static struct ha_page *use(struct ha_page *span) {
  ha_owner_add(&space.totals.free_slices, -(uint64_t)span->slices);
  ha_owner_add(&space.totals.free_resident, -(uint64_t)span->resident);
  note_peak();
  span->is_fresh = span->resident == 0;
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
  uint32_t resident = count_resident(span, rest, slices);
  withdraw(span);
  if (!split_off(span, 0, rest, span->resident - resident)) {
    insert(span);
    return NULL;
  }
  span->resident = resident;
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
  uint32_t lead_resident = count_resident(span, 0, lead);
  uint32_t resident = count_resident(span, lead, slices);
  withdraw(span);
  size_t tail = span->slices - lead - slices;
  if (!split_off(span, lead + slices, tail, span->resident - resident - lead_resident)) {
    insert(span);
    return NULL;
  }
  span->slices = (uint32_t)(lead + slices);
  span->resident = lead_resident + resident;
  if (!split_off(span, 0, lead, lead_resident)) {
    insert_merged(span);
    return NULL;
  }
  span->resident = resident;
  span->start += lead * HA_SLICE;
  span->slices = (uint32_t)slices;
  return use(span);
}

void ha_span_free_locked(struct ha_page *span) {
  ha_lock_assert_held(HA_RANK_ARENA);
  size_t mapped = span->kind == HA_PAGE_BLOCKS ? span->slices : 1;
  ha_page_map_set(span->start, mapped, NULL);
  ha_owner_add(&space.totals.free_slices, span->slices);
  span->resident = count_resident(span, 0, span->slices);
  ha_owner_add(&space.totals.free_resident, span->resident);
  insert_merged(span);
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
  uint32_t resident = count_resident(behind, 0, more);
  withdraw(behind);
  size_t rest = behind->slices - more;
  ha_owner_add(&space.totals.free_slices, -(uint64_t)more);
  ha_owner_add(&space.totals.free_resident, -(uint64_t)resident);
  if (rest > 0) {
    /* The descriptor of the neighbour serves the rest. */
    behind->start += more * HA_SLICE;
    behind->slices = (uint32_t)rest;
    behind->resident -= resident;
    insert(behind);
  } else {
    ha_descriptor_free_locked(behind);
  }
  span->slices = (uint32_t)slices;
  return true;
}

struct ha_page *ha_span_withdraw_resident_locked(void) {
  ha_lock_assert_held(HA_RANK_ARENA);
  for (unsigned bin = BIN_COUNT; bin-- > 0;) {
    if (space.bin_resident[bin] == 0) {
      continue;
    }
    struct ha_page *span = space.bins[bin].first;
    while (span->resident == 0) {
      span = span->next;
    }
    withdraw(span);
    ha_page_map_set(span->start, 1, span);
    space.withdrawn += span->slices;
    return span;
  }
  return NULL;
}

void ha_span_return_locked(struct ha_page *span, size_t released) {
  ha_lock_assert_held(HA_RANK_ARENA);
  span->resident -= (uint32_t)released;
  ha_owner_add(&space.totals.free_resident, -(uint64_t)released);
  space.withdrawn -= span->slices;
  ha_page_map_set(span->start, 1, NULL);
  insert_merged(span);
  check_arenas();
}

bool ha_span_is_withdrawn_locked(void) {
  ha_lock_assert_held(HA_RANK_ARENA);
  return space.withdrawn != 0;
}

/* *ret_again: a span was missing that may serve. */
static struct ha_page *alloc_page(size_t slices, bool for_samples, bool *ret_again) {
  ha_lock(HA_RANK_ARENA);
  struct ha_page *page = for_samples && slices == 1 ? cut_from_largest(slices) : NULL;
  if (page == NULL) {
    page = ha_span_alloc_locked(slices, HA_SLICE);
  }
  if (page != NULL) {
    ha_page_map_set(page->start, slices, page);
  }
  *ret_again = page == NULL && ha_span_is_withdrawn_locked();
  ha_unlock(HA_RANK_ARENA);
  return page;
}

struct ha_page *ha_page_alloc(unsigned size_class, bool for_samples) {
  size_t slices = ha_page_slices(size_class);
  bool again;
  struct ha_page *page = alloc_page(slices, for_samples, &again);
  if (ha_unlikely(again)) {
    ha_lock(HA_RANK_RELEASE);
    page = alloc_page(slices, for_samples, &again);
    ha_unlock(HA_RANK_RELEASE);
  }
  if (page != NULL) {
    ha_page_init(page, size_class);
  }
  return page;
}

void ha_page_release(struct ha_page *page) {
  ha_page_forget_parked(page);
  ha_lock(HA_RANK_ARENA);
  ha_store_relaxed(&page->owner, NULL);
  ha_store_relaxed(&page->heap, NULL);
  space.far_pages -= page->is_far;
  page->is_far = false;
  ha_span_free_locked(page);
  ha_unlock(HA_RANK_ARENA);
}

void ha_arena_visit(void (*visit)(const char *start, size_t size, void *arg), void *arg) {
  ha_lock(HA_RANK_ARENA);
  for (unsigned i = 0; i < space.count; i++) {
    visit(space.arenas[i].start, space.arenas[i].slices * HA_SLICE, arg);
  }
  ha_unlock(HA_RANK_ARENA);
}

uint64_t ha_arena_take_peak(void) {
  return ha_exchange_acq_rel(&space.peak, 0);
}

struct ha_arena_totals ha_arena_totals(void) {
  struct ha_arena_totals totals;
  totals.free_resident = ha_load_relaxed(&space.totals.free_resident);
  totals.free_slices = ha_load_relaxed(&space.totals.free_slices);
  totals.slices = ha_load_relaxed(&space.totals.slices);
  return totals;
}
