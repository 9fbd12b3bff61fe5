/* SPDX-License-Identifier: MIT */
/*
 * The rows of the first state are kept in chunks, with a hash table over them by what makes a row the same: its frames,
 * labels, block size and numbers. Rows of the second state look their predecessor up while they are visited.
 */
#include "serve/difference.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/log.h"
#include "sampler/interval.h"
#include "serve/pprof_library.h"

#define CHUNK_ROWS 256
#define HASH_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define HASH_SHIFT 32
#define COMMENT_MAX 128

struct kept_row {
  struct ha_row row;
  struct kept_row *next; /* in its hash chain */
  uint32_t hash;
  bool is_found; /* the second state has it too */
};

struct chunk {
  struct chunk *next;
  uint32_t count;
  struct kept_row rows[CHUNK_ROWS];
};

struct ha_difference {
  const struct ha_kind *kind;
  struct ha_kind_memory memory;
  struct ha_profile first;
  struct ha_profile second;
  struct ha_profile result;
  struct chunk *chunks;
  uint64_t row_count;
  struct kept_row **heads; /* head_count chains, a power of two */
  uint64_t head_count;
  ha_row_fn *fn; /* of the encoder, while the result is visited */
  void *arg;
  bool has_failed;
  char comment[COMMENT_MAX];
};

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * HASH_FACTOR;
  return hash ^ hash >> HASH_SHIFT;
}

static uint32_t hash_of(const struct ha_row *row) {
  uint64_t hash = mix(row->label_set, row->block_size);
  for (uint32_t i = 0; i < row->frame_count; i++) {
    hash = mix(hash, row->frames[i]);
  }
  return (uint32_t)hash;
}

static bool has_same_numbers(const struct ha_row *a, const struct ha_row *b) {
  if (a->number_count != b->number_count) {
    return false;
  }
  for (uint32_t i = 0; i < a->number_count; i++) {
    if (a->numbers[i].value != b->numbers[i].value || strcmp(a->numbers[i].key, b->numbers[i].key) != 0) {
      return false;
    }
  }
  return true;
}

static bool is_same(const struct ha_row *a, const struct ha_row *b) {
  return a->label_set == b->label_set && a->block_size == b->block_size && a->frame_count == b->frame_count &&
         (a->frames == b->frames || memcmp(a->frames, b->frames, a->frame_count * sizeof *a->frames) == 0) &&
         has_same_numbers(a, b);
}

static void keep(const struct ha_row *row, void *arg) {
  struct ha_difference *difference = arg;
  struct chunk *chunk = difference->chunks;
  if (chunk == NULL || chunk->count == CHUNK_ROWS) {
    chunk = difference->memory.encoders->scratch_alloc(difference->memory.scratch, sizeof *chunk);
    if (chunk == NULL) {
      difference->has_failed = true;
      return;
    }
    chunk->next = difference->chunks;
    chunk->count = 0;
    difference->chunks = chunk;
  }
  chunk->rows[chunk->count++] = (struct kept_row){.row = *row, .hash = hash_of(row)};
  difference->row_count++;
}

static bool make_table(struct ha_difference *difference) {
  difference->head_count = CHUNK_ROWS;
  while (difference->head_count < difference->row_count) {
    difference->head_count *= 2;
  }
  difference->heads = ha_kind_alloc(&difference->memory, difference->head_count * sizeof *difference->heads);
  for (struct chunk *chunk = difference->chunks; difference->heads != NULL && chunk != NULL;
       chunk = chunk->next) {
    for (uint32_t i = 0; i < chunk->count; i++) {
      struct kept_row **head = &difference->heads[chunk->rows[i].hash & (difference->head_count - 1)];
      chunk->rows[i].next = *head;
      *head = &chunk->rows[i];
    }
  }
  return difference->heads != NULL;
}

static int read_first(struct ha_difference *difference) {
  int error = difference->kind->open(&difference->first, difference->kind->name, &difference->memory);
  if (error != 0) {
    return error;
  }
  difference->first.time_nanos = ha_profile_time();
  difference->first.visit(&difference->first, keep, difference);
  return difference->has_failed || !make_table(difference) ? -ENOMEM : 0;
}

static int begin_locked(const struct ha_kind *kind, const struct ha_encoders *encoders, void *gathered,
                        struct ha_difference **ret_difference) {
  /* As for text: without the ages of what is in use, which differ between any two moments. */
  struct ha_kind_memory memory = {encoders, encoders->scratch_new(), true, gathered};
  if (memory.scratch == NULL) {
    return -ENOMEM;
  }
  struct ha_difference *difference = ha_kind_alloc(&memory, sizeof *difference);
  int error = -ENOMEM;
  if (difference != NULL) {
    difference->kind = kind;
    difference->memory = memory;
    error = read_first(difference);
  }
  if (error != 0) {
    encoders->scratch_destroy(memory.scratch);
  }
  *ret_difference = difference;
  return error;
}

static void *gather(const struct ha_kind *kind) {
  return kind->gather != NULL ? kind->gather() : NULL;
}

/* What was gathered is copied when the kind is opened. */
static void release(const struct ha_kind *kind, void *gathered) {
  if (gathered != NULL) {
    kind->release(gathered);
  }
}

int ha_difference_begin(const struct ha_kind *kind, struct ha_difference **ret_difference) {
  const struct ha_encoders *encoders = ha_pprof_library();
  int cancel_state;
  if (encoders == NULL) {
    return -ELIBACC;
  }
  /* As in profiles.c. */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  void *gathered = gather(kind);
  ha_lock(HA_RANK_PROFILE);
  int error = begin_locked(kind, encoders, gathered, ret_difference);
  ha_unlock(HA_RANK_PROFILE);
  release(kind, gathered);
  pthread_setcancelstate(cancel_state, NULL);
  return error;
}

/* The predecessor of a row, which is then found; NULL: it is new. */
static struct kept_row *find(struct ha_difference *difference, const struct ha_row *row) {
  uint32_t hash = hash_of(row);
  struct kept_row *kept = difference->heads[hash & (difference->head_count - 1)];
  while (kept != NULL && (kept->hash != hash || kept->is_found || !is_same(&kept->row, row))) {
    kept = kept->next;
  }
  return kept;
}

static void subtract(struct ha_row *row, const struct ha_row *other) {
  for (int i = 0; i < HA_ROW_VALUES_MAX; i++) {
    row->values[i] -= other->values[i];
    row->sampled[i] -= other->sampled[i];
    row->variances[i] = 0; /* not known: what is in use at both moments is partly the same */
  }
}

static void put_change(const struct ha_row *row, void *arg) {
  struct ha_difference *difference = arg;
  struct kept_row *kept = find(difference, row);
  struct ha_row change = *row;
  if (kept != NULL) {
    kept->is_found = true;
    subtract(&change, &kept->row);
  }
  difference->fn(&change, difference->arg);
}

/* The encoder leaves out rows of zeros. */
static void put_gone(const struct ha_difference *difference) {
  for (const struct chunk *chunk = difference->chunks; chunk != NULL; chunk = chunk->next) {
    for (uint32_t i = 0; i < chunk->count; i++) {
      struct ha_row change = chunk->rows[i].row;
      if (!chunk->rows[i].is_found) {
        memset(change.values, 0, sizeof change.values);
        memset(change.sampled, 0, sizeof change.sampled);
        subtract(&change, &chunk->rows[i].row);
        difference->fn(&change, difference->arg);
      }
    }
  }
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  struct ha_difference *difference = (struct ha_difference *)(uintptr_t)profile->source;
  difference->fn = fn;
  difference->arg = arg;
  difference->second.visit(&difference->second, put_change, difference);
  put_gone(difference);
}

static int encode(struct ha_difference *difference, struct ha_blob *blob) {
  int error = difference->kind->open(&difference->second, difference->kind->name, &difference->memory);
  if (error != 0) {
    return error;
  }
  difference->result = difference->second;
  difference->result.time_nanos = ha_profile_time();
  difference->result.duration_nanos = difference->result.time_nanos - difference->first.time_nanos;
  ha_format(difference->comment, sizeof difference->comment,
            "halloc: version=" HA_VERSION " pid=%d rate=%ld delta", (int)getpid(), (long)ha_rate());
  difference->result.comments[0] = difference->comment;
  difference->result.comment_count = 1;
  difference->result.source = difference;
  difference->result.visit = visit;
  return difference->memory.encoders->proto(&difference->result, difference->memory.scratch, blob);
}

int ha_difference_finish(struct ha_difference *difference, struct ha_profile_file *ret_file) {
  struct ha_blob blob = {NULL, 0};
  const struct ha_kind *kind = difference->kind;
  struct ha_kind_memory memory = difference->memory;
  int cancel_state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  difference->memory.gathered = gather(kind);
  void *gathered = difference->memory.gathered;
  ha_lock(HA_RANK_PROFILE);
  int error = encode(difference, &blob);
  if (error != 0) {
    memory.encoders->scratch_destroy(memory.scratch);
  }
  ha_unlock(HA_RANK_PROFILE);
  release(kind, gathered);
  pthread_setcancelstate(cancel_state, NULL);
  *ret_file = (struct ha_profile_file){blob.data, blob.size, error == 0 ? memory.scratch : NULL};
  return error;
}

void ha_difference_discard(struct ha_difference *difference) {
  struct ha_kind_memory memory = difference->memory;
  ha_lock(HA_RANK_PROFILE);
  memory.encoders->scratch_destroy(memory.scratch);
  ha_unlock(HA_RANK_PROFILE);
}
