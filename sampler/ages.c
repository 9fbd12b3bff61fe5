/* SPDX-License-Identifier: MIT */
/*
 * Cells are linked from their entry. A share is the difference of two rounded sums, so that shares add up to the
 * rounded whole.
 */
#include "sampler/ages.h"

#include "base/clock.h"
#include "sampler/interval.h"
#include "sampler/table.h"

/* Lower bounds, in seconds. */
static const uint32_t bounds[] = {0, 1, 10, 60, 600, 3600, 86400};
#define AGES HA_ARRAY_LEN(bounds)

struct cell {
  uint64_t objects; /* weights */
  uint64_t bytes;
  uint64_t slack; /* of those bytes, what was not asked for */
  uint32_t next;  /* index plus one; 0: the last of its entry */
  uint32_t age;   /* index of bounds */
};

static void forget(struct ha_entry *entry, void *arg) {
  (void)arg;
  entry->gathered = 0;
}

void ha_ages_begin(struct ha_ages *ages, const struct ha_mark *mark, struct ha_memory memory) {
  *ages = (struct ha_ages){.cells = ha_array_of(sizeof(struct cell), memory), .now = ha_clock_ticks()};
  if (mark != NULL) {
    ages->mark = *mark;
  }
  ha_table_visit(forget, NULL);
}

/* Times are exact to a tick, so only what is beyond the bound by one is surely older. */
static uint32_t age_of(uint32_t ticks) {
  uint32_t age = 0;
  while (age + 1 < AGES && ticks > bounds[age + 1] * HA_TICKS_PER_SECOND) {
    age++;
  }
  return age;
}

static struct cell *cell_of(struct ha_ages *ages, struct ha_entry *entry, uint32_t age) {
  for (uint32_t at = entry->gathered; at != 0;) {
    struct cell *cell = ha_array_at(&ages->cells, at - 1);
    if (cell->age == age) {
      return cell;
    }
    at = cell->next;
  }
  struct cell *cell = ha_array_add(&ages->cells);
  if (cell != NULL) {
    cell->age = age;
    cell->next = entry->gathered;
    entry->gathered = ages->cells.count;
  }
  return cell;
}

void ha_ages_add(const struct ha_sample *sample, size_t block_size, void *arg) {
  struct ha_ages *ages = arg;
  if (!ha_mark_is_since(&ages->mark, ages->now, sample->slack_and_mark, sample->born)) {
    return;
  }
  uint32_t age = age_of(ha_ticks_between(sample->born, ages->now));
  struct cell *cell = cell_of(ages, sample->entry, age);
  if (cell == NULL) {
    ages->is_out_of_memory = true;
    return;
  }
  cell->objects += sample->weight;
  cell->bytes += ha_weight_bytes(sample->weight, block_size);
  cell->slack += ha_weight_bytes(sample->weight, sample->slack_and_mark >> HA_SAMPLE_MARK_BITS);
}

struct ha_counts ha_ages_sum(const struct ha_ages *ages, const struct ha_entry *entry) {
  struct ha_counts sum = {0};
  for (uint32_t at = entry->gathered; at != 0;) {
    const struct cell *cell = ha_array_at(&ages->cells, at - 1);
    sum.objects += cell->objects;
    sum.bytes += cell->bytes;
    at = cell->next;
  }
  return sum;
}

static uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

/* Bytes for each object, rounded. */
static int64_t mean(uint64_t bytes, uint64_t objects) {
  return (int64_t)((((unsigned __int128)bytes << HA_WEIGHT_SHIFT) + objects / 2) / objects);
}

/* What of an entry is not given out yet, and to whom it goes. */
struct split {
  struct ha_row *row;
  unsigned first;
  uint64_t size;    /* of all blocks; 0: they differ */
  uint64_t objects; /* left */
  uint64_t bytes;   /* left */
};

/* Takes the share of a cell, or all that is left; the rows' objects are what rounding makes of the sums before and
 * after. */
static void take_share(struct split *split, const struct cell *cell, bool is_rest) {
  int64_t *values = &split->row->values[split->first];
  uint64_t objects = is_rest ? 0 : split->objects - least(cell->objects, split->objects);
  uint64_t share = split->size == 0 && !is_rest
                       ? cell->bytes
                       : ha_weight_bytes(split->objects, split->size) - ha_weight_bytes(objects, split->size);
  uint64_t bytes = objects == 0 ? split->bytes : least(share, split->bytes);
  values[0] = ha_weight_whole(split->objects) - ha_weight_whole(objects);
  values[1] = (int64_t)bytes;
  split->objects = objects;
  split->bytes -= bytes;
}

/* cell: NULL if nothing is known of the blocks but that they are young. */
static void describe(struct split *split, const struct cell *cell, uint32_t age) {
  struct ha_row *row = split->row;
  row->number_count = 0;
  if (cell != NULL && cell->objects != 0) {
    int64_t size = split->size != 0 ? (int64_t)split->size : mean(cell->bytes, cell->objects);
    row->block_size = (uint64_t)size;
    row->numbers[row->number_count++] =
        (struct ha_row_number){"request", size - mean(cell->slack, cell->objects), "bytes"};
  }
  row->numbers[row->number_count++] = (struct ha_row_number){"age", bounds[age], "seconds"};
}

void ha_ages_split(const struct ha_ages *ages, const struct ha_entry *entry, const struct ha_counts *live,
                   struct ha_row *row, unsigned first, ha_row_fn *fn, void *arg) {
  const struct cell *by_age[AGES] = {NULL};
  for (uint32_t at = entry->gathered; at != 0;) {
    const struct cell *cell = ha_array_at(&ages->cells, at - 1);
    by_age[cell->age] = cell;
    at = cell->next;
  }
  struct split split = {row, first, entry->block_size, live->objects, live->bytes};
  for (uint32_t age = AGES; age-- > 0 && (split.objects != 0 || split.bytes != 0);) {
    if (by_age[age] != NULL || age == 0) {
      take_share(&split, by_age[age], age == 0);
      describe(&split, by_age[age], age);
      fn(row, arg);
    }
  }
}
