/* SPDX-License-Identifier: MIT */
/*
 * A site's share of its class is the difference of two rounded sums, so that the shares add up.
 */
#include "sampler/fragmentation.h"

#include "labels/set.h"
#include "sampler/interval.h"
#include "sampler/table.h"

enum { INUSE_SPACE, FRAGMENTATION_SPACE };

struct site {
  const struct ha_entry *entry;
  uint64_t objects;
};

struct gathering {
  struct ha_fragmentation *fragmentation;
  bool is_out_of_memory;
};

static void gather(struct ha_entry *entry, void *arg) {
  struct gathering *gathering = arg;
  struct ha_fragmentation *fragmentation = gathering->fragmentation;
  struct ha_counts live;
  ha_entry_counts(entry, &live);
  if (live.objects == 0 || entry->block_size == 0 || entry->size_class >= fragmentation->class_count) {
    return;
  }
  struct site *site = ha_array_add(&fragmentation->sites);
  if (site == NULL) {
    gathering->is_out_of_memory = true;
    return;
  }
  *site = (struct site){entry, live.objects};
  fragmentation->classes[entry->size_class].live += live.objects;
}

bool ha_fragmentation_gather(struct ha_fragmentation *fragmentation, struct ha_memory memory) {
  struct gathering gathering = {fragmentation, false};
  fragmentation->sites = ha_array_of(sizeof(struct site), memory);
  ha_table_visit(gather, &gathering);
  return !gathering.is_out_of_memory;
}

/* What the first `given` of the class's live objects hold. */
static uint64_t held_by(const struct ha_fragmentation_class *class, uint64_t given) {
  return (uint64_t)((unsigned __int128)class->free_bytes * given / class->live);
}

static void emit_site(const struct site *site, struct ha_fragmentation_class *class, ha_row_fn *fn,
                      void *arg) {
  uint64_t after = class->given + site->objects;
  uint64_t bytes = ha_weight_bytes(site->objects, class->block_size);
  struct ha_row row = ha_entry_row(site->entry, site->objects, bytes);
  row.values[INUSE_SPACE] = (int64_t)bytes;
  row.values[FRAGMENTATION_SPACE] = (int64_t)(held_by(class, after) - held_by(class, class->given));
  class->given = after;
  fn(&row, arg);
}

static void emit_unknown(const struct ha_fragmentation_class *class, ha_row_fn *fn, void *arg) {
  static const uintptr_t unknown[] = {HA_FRAME_UNKNOWN};
  struct ha_row row = {.frames = unknown, .frame_count = 1, .block_size = class->block_size};
  row.values[FRAGMENTATION_SPACE] = (int64_t) class->free_bytes;
  fn(&row, arg);
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  const struct ha_fragmentation *fragmentation = profile->source;
  for (uint32_t i = 0; i < fragmentation->class_count; i++) {
    fragmentation->classes[i].given = 0;
  }
  for (uint32_t i = 0; i < fragmentation->sites.count; i++) {
    const struct site *site = ha_array_at(&fragmentation->sites, i);
    emit_site(site, &fragmentation->classes[site->entry->size_class], fn, arg);
  }
  for (uint32_t i = 0; i < fragmentation->class_count; i++) {
    if (fragmentation->classes[i].live == 0) {
      emit_unknown(&fragmentation->classes[i], fn, arg);
    }
  }
}

void ha_fragmentation_profile(struct ha_profile *profile, const char *name,
                              const struct ha_fragmentation *fragmentation) {
  *profile = (struct ha_profile){
      .name = name,
      .types = {{"inuse_space", "bytes"}, {"fragmentation_space", "bytes"}},
      .type_count = 2,
      .period_type = {"space", "bytes"},
      .period = ha_rate(),
      .label = ha_label_set_item,
      .visit = visit,
      .source = fragmentation,
  };
}
