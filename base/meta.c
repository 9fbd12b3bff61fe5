/* SPDX-License-Identifier: MIT */
/*
 * A bump allocator over chunks with free lists by power of two. All state is protected by HA_RANK_META; the
 * counters are read without it.
 */
#include "base/meta.h"

#include <string.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/own_mappings.h"

#define CHUNK_SIZE ((size_t)256 * 1024)
#define SMALLEST_SHIFT 6 /* one cache line */
#define SHIFT_COUNT 40
#define NODE_SIZE ((size_t)1 << SMALLEST_SHIFT)

_Static_assert(sizeof(struct ha_own_mapping) <= NODE_SIZE, "a node is the smallest piece");

struct piece {
  struct piece *next;
};

static struct {
  char *next;
  char *end;
  struct piece *free[SHIFT_COUNT];
  uint64_t bytes[HA_META_KIND_COUNT];
  uint64_t mapped;
} meta;

static unsigned shift_of(size_t size) {
  unsigned shift = SMALLEST_SHIFT;
  while (((size_t)1 << shift) < size) {
    shift++;
  }
  return shift;
}

static bool has_room(size_t size) {
  return (size_t)(meta.end - meta.next) >= size;
}

static void *cut(size_t size) {
  void *piece = meta.next;
  meta.next += size;
  return piece;
}

/* A chunk begins with the node that lists it. */
static bool add_chunk(void) {
  char *chunk = ha_os_map(CHUNK_SIZE);
  if (chunk == NULL) {
    return false;
  }
  ha_owner_add(&meta.mapped, CHUNK_SIZE);
  meta.next = chunk;
  meta.end = chunk + CHUNK_SIZE;
  ha_own_mappings_add(cut(NODE_SIZE), chunk, CHUNK_SIZE);
  return true;
}

/* Without a node the mapping is not listed. */
static void *map_alone(size_t size) {
  size = ha_align_up(size, HA_OS_PAGE);
  void *own = ha_os_map(size);
  if (own == NULL) {
    return NULL;
  }
  ha_owner_add(&meta.mapped, size);
  if (has_room(NODE_SIZE) || add_chunk()) {
    ha_own_mappings_add(cut(NODE_SIZE), own, size);
  }
  return own;
}

/* Pieces of a quarter chunk and more get a mapping of their own, so that no chunk tail is wasted on them. */
static void *cut_locked(size_t size) {
  ha_lock_assert_held(HA_RANK_META);
  if (size >= CHUNK_SIZE / 4) {
    return map_alone(size);
  }
  return has_room(size) || add_chunk() ? cut(size) : NULL;
}

void *ha_meta_alloc(size_t size, enum ha_meta_kind kind) {
  unsigned shift = shift_of(size);
  if (shift >= SHIFT_COUNT) {
    return NULL;
  }
  ha_lock(HA_RANK_META);
  struct piece *piece = meta.free[shift];
  if (piece != NULL) {
    meta.free[shift] = piece->next;
    memset(piece, 0, (size_t)1 << shift);
  } else {
    piece = cut_locked((size_t)1 << shift);
  }
  if (piece != NULL) {
    ha_owner_add(&meta.bytes[kind], (uint64_t)1 << shift);
  }
  ha_unlock(HA_RANK_META);
  return piece;
}

void ha_meta_free(void *freed, size_t size, enum ha_meta_kind kind) {
  struct piece *piece = freed;
  unsigned shift = shift_of(size);
  ha_lock(HA_RANK_META);
  piece->next = meta.free[shift];
  meta.free[shift] = piece;
  ha_owner_add(&meta.bytes[kind], -((uint64_t)1 << shift));
  ha_unlock(HA_RANK_META);
}

uint64_t ha_meta_bytes(enum ha_meta_kind kind) {
  return ha_load_relaxed(&meta.bytes[kind]);
}

uint64_t ha_meta_mapped_bytes(void) {
  return ha_load_relaxed(&meta.mapped);
}

uint64_t ha_meta_unused_bytes(void) {
  uint64_t used = 0;
  for (int kind = 0; kind < HA_META_KIND_COUNT; kind++) {
    used += ha_meta_bytes((enum ha_meta_kind)kind);
  }
  uint64_t mapped = ha_meta_mapped_bytes();
  return mapped > used ? mapped - used : 0;
}
