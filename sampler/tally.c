/* SPDX-License-Identifier: MIT */
/*
 * Chains that only grow at their heads, as in stack.c, but in a range of the tally's own, so that it can go
 * as a whole.
 */
#include "sampler/tally.h"

#include <string.h>

#include "base/atomic.h"
#include "base/os.h"

#define HEAD_SHIFT 13 /* 8192 chains */
#define HEADS ((size_t)1 << HEAD_SHIFT)
#define HASH_BITS 32

struct sums {
  int64_t values[HA_TALLY_VALUES];    /* atomic, relaxed; any thread adds */
  int64_t shown[HA_TALLY_VALUES];     /* HA_RANK_PROFILE: by the last visit of a delta */
  int64_t committed[HA_TALLY_VALUES]; /* HA_RANK_PROFILE: what the next delta begins with */
};

struct entry {
  struct entry *next; /* in its chain; immutable once published */
  uint32_t hash;
  uint32_t label_set;
  uint32_t frame_count;
  struct sums sums;
  uintptr_t frames[];
};

struct ha_tally {
  size_t size;
  size_t used; /* atomic; may exceed size once it is full */
  struct sums overflow;
  _Alignas(sizeof(void *)) struct entry *heads[HEADS]; /* atomic */
};

size_t ha_tally_size(size_t rows, size_t frames) {
  return sizeof(struct ha_tally) + rows * sizeof(struct entry) + frames * sizeof(uintptr_t);
}

struct ha_tally *ha_tally_at(void *memory, size_t size) {
  struct ha_tally *tally = memory;
  tally->size = size;
  tally->used = sizeof *tally;
  return tally;
}

struct ha_tally *ha_tally_new(size_t size) {
  void *memory = ha_os_reserve(size);
  return memory != NULL ? ha_tally_at(memory, size) : NULL;
}

void ha_tally_free(struct ha_tally *tally) {
  if (tally != NULL) {
    ha_os_unmap(tally, tally->size);
  }
}

static uint32_t hash_key(const uintptr_t *frames, uint32_t count, uint32_t label_set) {
  uint64_t hash = (uint64_t)label_set << 32 | count;
  for (uint32_t i = 0; i < count; i++) {
    hash = (hash ^ frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
  }
  return (uint32_t)(hash ^ hash >> 32);
}

/* Looks from `from` down to, but not including, `until`. */
static struct entry *find(struct entry *from, const struct entry *until, const struct entry *wanted,
                          const uintptr_t *frames) {
  for (struct entry *entry = from; entry != until; entry = entry->next) {
    if (entry->hash == wanted->hash && entry->label_set == wanted->label_set &&
        entry->frame_count == wanted->frame_count &&
        memcmp(entry->frames, frames, wanted->frame_count * sizeof *frames) == 0) {
      return entry;
    }
  }
  return NULL;
}

static struct entry *new_entry(struct ha_tally *tally, const struct entry *key, const uintptr_t *frames) {
  size_t frames_size = key->frame_count * sizeof *frames;
  size_t size = sizeof *key + frames_size;
  if (ha_load_relaxed(&tally->used) + size > tally->size) {
    return NULL;
  }
  size_t offset = ha_add_relaxed(&tally->used, size);
  if (offset + size > tally->size) {
    return NULL;
  }
  struct entry *entry = (struct entry *)((char *)tally + offset);
  *entry = *key;
  memcpy(entry->frames, frames, frames_size);
  return entry;
}

/* The entry of a key, found or made; NULL when there is no room. */
static struct entry *obtain(struct ha_tally *tally, const struct entry *key, const uintptr_t *frames) {
  struct entry **head = &tally->heads[key->hash >> (HASH_BITS - HEAD_SHIFT)];
  struct entry *first = ha_load_acquire(head);
  struct entry *entry = find(first, NULL, key, frames);
  if (entry != NULL) {
    return entry;
  }
  entry = new_entry(tally, key, frames);
  const struct entry *seen = first;
  while (entry != NULL) {
    entry->next = first;
    /* Release: the key is written before the head shows it; pairs with the acquire above. */
    if (ha_cas_weak_acq_rel(head, &first, entry)) {
      break;
    }
    struct entry *other = find(first, seen, key, frames);
    if (other != NULL) {
      return other; /* the copy is lost to the range */
    }
    seen = first;
  }
  return entry;
}

void ha_tally_add(struct ha_tally *tally, const uintptr_t *frames, uint32_t frame_count, uint32_t label_set,
                  int64_t first, int64_t second) {
  struct entry key = {
      .hash = hash_key(frames, frame_count, label_set), .label_set = label_set, .frame_count = frame_count};
  struct entry *entry = obtain(tally, &key, frames);
  int64_t *values = entry != NULL ? entry->sums.values : tally->overflow.values;
  ha_add_relaxed(&values[0], first);
  ha_add_relaxed(&values[1], second);
}

size_t ha_tally_bytes(const struct ha_tally *tally) {
  size_t used = ha_load_relaxed(&tally->used);
  return used < tally->size ? used : tally->size;
}

int64_t ha_tally_overflow(const struct ha_tally *tally) {
  return ha_load_relaxed(&tally->overflow.values[0]);
}

typedef void show_fn(struct sums *sums, struct ha_row *row);

static void show_all(struct sums *sums, struct ha_row *row) {
  for (int i = 0; i < HA_TALLY_VALUES; i++) {
    row->values[i] = row->sampled[i] = ha_load_relaxed(&sums->values[i]);
  }
}

static void show_delta(struct sums *sums, struct ha_row *row) {
  for (int i = 0; i < HA_TALLY_VALUES; i++) {
    sums->shown[i] = ha_load_relaxed(&sums->values[i]);
    row->values[i] = row->sampled[i] = sums->shown[i] - sums->committed[i];
  }
}

static void visit(struct ha_tally *tally, show_fn *show, ha_row_fn *fn, void *arg) {
  static const uintptr_t overflow_frame = HA_FRAME_OVERFLOW;
  for (size_t i = 0; i < HEADS; i++) {
    for (struct entry *entry = ha_load_acquire(&tally->heads[i]); entry != NULL; entry = entry->next) {
      struct ha_row row = {
          .frames = entry->frames, .frame_count = entry->frame_count, .label_set = entry->label_set};
      show(&entry->sums, &row);
      fn(&row, arg);
    }
  }
  if (ha_load_relaxed(&tally->overflow.values[0]) != 0) {
    struct ha_row row = {.frames = &overflow_frame, .frame_count = 1};
    show(&tally->overflow, &row);
    fn(&row, arg);
  }
}

void ha_tally_visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  visit((struct ha_tally *)profile->source, show_all, fn, arg);
}

void ha_tally_visit_delta(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  visit((struct ha_tally *)profile->source, show_delta, fn, arg);
}

void ha_tally_commit_delta(struct ha_tally *tally) {
  for (size_t i = 0; i < HEADS; i++) {
    for (struct entry *entry = ha_load_acquire(&tally->heads[i]); entry != NULL; entry = entry->next) {
      memcpy(entry->sums.committed, entry->sums.shown, sizeof entry->sums.committed);
    }
  }
  memcpy(tally->overflow.committed, tally->overflow.shown, sizeof tally->overflow.committed);
}
