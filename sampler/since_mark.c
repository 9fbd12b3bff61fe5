/* SPDX-License-Identifier: MIT */
/*
 * A row for each site and age, as in the heap profile.
 */
#include "sampler/since_mark.h"

#include "labels/set.h"
#include "sampler/interval.h"
#include "sampler/table.h"

enum { INUSE_OBJECTS, INUSE_SPACE };

struct emission {
  const struct ha_ages *ages;
  ha_row_fn *fn;
  void *arg;
};

static void emit(struct ha_entry *entry, void *arg) {
  const struct emission *emission = arg;
  struct ha_counts live = ha_ages_sum(emission->ages, entry);
  struct ha_row row = ha_entry_row(entry, live.objects, live.bytes);
  ha_ages_split(emission->ages, entry, &live, &row, INUSE_OBJECTS, emission->fn, emission->arg);
}

static void visit(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  struct emission emission = {profile->source, fn, arg};
  ha_table_visit(emit, &emission);
}

void ha_since_mark_profile(struct ha_profile *profile, const char *name, const struct ha_ages *ages) {
  *profile = (struct ha_profile){
      .name = name,
      .types = {{"inuse_objects", "count"}, {"inuse_space", "bytes"}},
      .type_count = 2,
      .period_type = {"space", "bytes"},
      .period = ha_rate(),
      .label = ha_label_set_item,
      .visit = visit,
      .source = ages,
  };
}
