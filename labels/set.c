/* SPDX-License-Identifier: MIT */
/*
 * A set is one piece of a region: a header, then "key\0value\0" for each label in the order of the keys. The
 * id is the place in the region. Sets are found by chains that only grow at their head, as in
 * sampler/stack.c.
 *
 * Merges are remembered in a table of words, each of which holds (base, added, merged) whole, so that a
 * reader needs no lock and an entry may be overwritten at any time; what was forgotten is merged anew, and
 * finds the set that exists.
 */
#include "labels/set.h"

#include <string.h>

#include "base/atomic.h"
#include "base/region.h"
#include "base/text.h"

#define PIECE 16 /* alignment of what a region hands out */
#define HEAD_BITS 14
/* Bytes of the largest set's text. */
#define TEXT_MAX (HA_LABELS_MAX * (HA_LABEL_KEY_MAX + HA_LABEL_VALUE_MAX + 2))
/* Kept back for sets whose values are HA_LABEL_OTHER: one sixteenth. */
#define FREE_SETS_MAX (HA_LABEL_SETS_MAX / 16 * 15)
#define FREE_BYTES_MAX (HA_LABEL_BYTES_MAX / 16 * 15)

struct set {
  struct set *next; /* in its chain; immutable once published, as all of it */
  uint32_t hash;
  uint32_t id;
  uint32_t count;
  uint32_t size; /* of the text */
  char text[];
};

/* Numeric labels of the profiles: pprof allows a key either numbers or texts. */
static const char *const numeric_keys[] = {"age", "bytes", "lifetime", "request"};
static const char own_prefix[] = "halloc_";
static const char hidden_prefix[] = "__"; /* Prometheus and Parca keep such names for themselves */

static struct ha_region region = HA_REGION_INIT(HA_LABEL_BYTES_MAX);
static struct set *heads[1 << HEAD_BITS]; /* atomic */
static struct ha_label_counts counts;     /* atomic; bytes is not used */

uint64_t ha_label_merges[1 << HA_LABEL_MERGE_BITS];

static const struct ha_label other_label = {"halloc_labels", HA_LABEL_OTHER};

static const struct set *find_id(uint32_t id) {
  const char *start = ha_load_acquire(&region.start);
  size_t place = ((size_t)id - 1) * PIECE;
  if (id == HA_LABEL_SET_EMPTY || start == NULL || place + sizeof(struct set) > ha_region_used(&region)) {
    return NULL;
  }
  const struct set *set = (const struct set *)(const void *)(start + place);
  return set->id == id ? set : NULL;
}

/* ---- drafts ---- */

static bool is_listed(const char *key, size_t size) {
  const char *list = ha_config.label_keys;
  while (*list != '\0') {
    size_t span = ha_text_name(list);
    if (span == size && memcmp(list, key, size) == 0) {
      return true;
    }
    list += span + (list[span] == ',');
  }
  return false;
}

static bool is_reserved(const char *key) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(numeric_keys); i++) {
    if (strcmp(key, numeric_keys[i]) == 0) {
      return true;
    }
  }
  return strncmp(key, own_prefix, sizeof own_prefix - 1) == 0 ||
         strncmp(key, hidden_prefix, sizeof hidden_prefix - 1) == 0;
}

/* Copies what fits, up to a border between characters; what is not printable UTF-8 becomes '?'. */
static void copy_value(char *copy, const char *value) {
  size_t size = 0;
  while (*value != '\0') {
    size_t step = ha_text_printable(value);
    if (size + (step != 0 ? step : 1) > HA_LABEL_VALUE_MAX) {
      break;
    }
    if (step == 0) {
      copy[size++] = '?';
      value++;
    } else {
      memcpy(copy + size, value, step);
      size += step;
      value += step;
    }
  }
  copy[size] = '\0';
}

void ha_label_draft_begin(struct ha_label_draft *draft) {
  draft->count = 0;
  draft->used = 0;
}

static void draft_remove(struct ha_label_draft *draft, uint32_t at) {
  size_t place = (size_t)(draft->items[at].value - draft->values[0]) / sizeof draft->values[0];
  draft->used &= ~(1u << place);
  draft->count--;
  memmove(&draft->items[at], &draft->items[at + 1], (draft->count - at) * sizeof draft->items[0]);
}

static void draft_insert(struct ha_label_draft *draft, uint32_t at, const char *key, const char *value) {
  unsigned place = (unsigned)__builtin_ctz(~draft->used);
  draft->used |= 1u << place;
  copy_value(draft->values[place], value);
  memmove(&draft->items[at + 1], &draft->items[at], (draft->count - at) * sizeof draft->items[0]);
  draft->items[at] = (struct ha_label){key, draft->values[place]};
  draft->count++;
}

void ha_label_draft_put(struct ha_label_draft *draft, const char *key, const char *value) {
  ha_config_load(); /* in case that nothing was allocated yet */
  size_t size = ha_text_name(key);
  if (size == 0 || size > HA_LABEL_KEY_MAX || key[size] != '\0' || is_reserved(key)) {
    ha_add_relaxed(&counts.refused, 1);
    return;
  }
  if (ha_config.has_label_keys && !is_listed(key, size)) {
    return;
  }
  uint32_t at = 0;
  int order = 1;
  while (at < draft->count && (order = strcmp(draft->items[at].key, key)) < 0) {
    at++;
  }
  if (at < draft->count && order == 0) {
    draft_remove(draft, at);
  }
  if (value == NULL || *value == '\0') {
    return;
  }
  if (draft->count == HA_LABELS_MAX) {
    ha_add_relaxed(&counts.refused, 1);
    return;
  }
  draft_insert(draft, at, key, value);
}

/* ---- interning ---- */

static uint32_t hash_text(const char *text, size_t size) {
  uint64_t hash = size;
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    memcpy(&word, text + i, size - i < sizeof word ? size - i : sizeof word);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return (uint32_t)(hash ^ hash >> 32);
}

/* Looks from `from` down to, but not including, `until`. */
static struct set *find(struct set *from, const struct set *until, uint32_t hash, const char *text,
                        size_t size) {
  for (struct set *set = from; set != until; set = set->next) {
    if (set->hash == hash && set->size == size && memcmp(set->text, text, size) == 0) {
      return set;
    }
  }
  return NULL;
}

static size_t write_text(char *text, const struct ha_label *items, uint32_t count) {
  char *end = text;
  for (uint32_t i = 0; i < count; i++) {
    end = stpcpy(end, items[i].key) + 1;
    end = stpcpy(end, items[i].value) + 1;
  }
  return (size_t)(end - text);
}

static struct set *new_set(uint32_t hash, const char *text, size_t size, uint32_t count, bool is_other) {
  bool has_room =
      ha_load_relaxed(&counts.sets) < (is_other ? HA_LABEL_SETS_MAX : FREE_SETS_MAX) &&
      ha_region_used(&region) + sizeof(struct set) + size <= (is_other ? HA_LABEL_BYTES_MAX : FREE_BYTES_MAX);
  struct set *set = has_room ? ha_region_alloc(&region, sizeof *set + size) : NULL;
  if (set != NULL) {
    set->hash = hash;
    set->id = (uint32_t)((size_t)((char *)set - ha_load_relaxed(&region.start)) / PIECE) + 1;
    set->count = count;
    set->size = (uint32_t)size;
    memcpy(set->text, text, size);
  }
  return set;
}

/* The id of the set of these labels, sorted by key; empty if there is no room for it. is_other: room is kept
 * back for it. */
static uint32_t intern(const struct ha_label *items, uint32_t count, bool is_other) {
  char text[TEXT_MAX];
  size_t size = write_text(text, items, count);
  uint32_t hash = hash_text(text, size);
  struct set **head = &heads[hash >> (32 - HEAD_BITS)];
  struct set *first = ha_load_acquire(head);
  struct set *set = find(first, NULL, hash, text, size);
  if (set != NULL) {
    return set->id;
  }
  set = new_set(hash, text, size, count, is_other);
  if (set == NULL) {
    return HA_LABEL_SET_EMPTY;
  }
  const struct set *seen = first;
  do {
    struct set *other = find(first, seen, hash, text, size);
    if (other != NULL) {
      return other->id; /* the copy is lost to the region; races on a new set are rare */
    }
    seen = first;
    set->next = first;
    /* Release: the set is written before the head shows it; pairs with the acquire above. */
  } while (!ha_cas_weak_acq_rel(head, &first, set));
  ha_add_relaxed(&counts.sets, 1);
  return set->id;
}

/* As intern, but where there is no room: with HA_LABEL_OTHER for the values that `is_new` has a bit for, else
 * for all, else the set that is always there. */
static uint32_t intern_or_other(struct ha_label *items, uint32_t count, uint32_t is_new) {
  if (count == 0) {
    return HA_LABEL_SET_EMPTY;
  }
  uint32_t id = intern(items, count, false);
  if (id != HA_LABEL_SET_EMPTY) {
    return id;
  }
  ha_add_relaxed(&counts.overflowed, 1);
  const uint32_t replaced[] = {is_new, ~0u};
  for (unsigned attempt = 0; attempt < HA_ARRAY_LEN(replaced) && id == HA_LABEL_SET_EMPTY; attempt++) {
    for (uint32_t i = 0; i < count; i++) {
      items[i].value = replaced[attempt] >> i & 1 ? HA_LABEL_OTHER : items[i].value;
    }
    id = intern(items, count, true);
  }
  return id != HA_LABEL_SET_EMPTY ? id : HA_LABEL_SET_OTHER;
}

uint32_t ha_label_set_intern(const struct ha_label_draft *draft) {
  struct ha_label items[HA_LABELS_MAX];
  memcpy(items, draft->items, draft->count * sizeof items[0]);
  return intern_or_other(items, draft->count, ~0u);
}

/* ---- reading ---- */

/* The labels of a set; how many there are. */
static uint32_t items_of(uint32_t id, struct ha_label *items) {
  if (id == HA_LABEL_SET_OTHER) {
    items[0] = other_label;
    return 1;
  }
  const struct set *set = find_id(id);
  uint32_t count = set != NULL ? set->count : 0;
  const char *at = count != 0 ? set->text : NULL;
  for (uint32_t i = 0; i < count; i++) {
    items[i].key = at;
    items[i].value = at + strlen(at) + 1;
    at = items[i].value + strlen(items[i].value) + 1;
  }
  return count;
}

bool ha_label_set_item(uint32_t set, uint32_t index, const char **ret_key, const char **ret_value) {
  struct ha_label items[HA_LABELS_MAX];
  if (index >= items_of(set, items)) {
    return false;
  }
  *ret_key = items[index].key;
  *ret_value = items[index].value;
  return true;
}

struct ha_label_counts ha_label_counts(void) {
  return (struct ha_label_counts){
      .sets = ha_load_relaxed(&counts.sets),
      .bytes = ha_region_used(&region),
      .overflowed = ha_load_relaxed(&counts.overflowed),
      .refused = ha_load_relaxed(&counts.refused),
  };
}

/* ---- merging ---- */

static uint32_t merge_items(uint32_t base, uint32_t added) {
  struct ha_label lower[HA_LABELS_MAX], upper[HA_LABELS_MAX], merged[HA_LABELS_MAX];
  uint32_t lower_count = items_of(base, lower), upper_count = items_of(added, upper);
  uint32_t room = HA_LABELS_MAX - upper_count; /* for labels of the base: the added ones come first */
  uint32_t count = 0, is_new = 0;
  for (uint32_t i = 0, j = 0; i < lower_count || j < upper_count;) {
    int order = i == lower_count ? 1 : j == upper_count ? -1 : strcmp(lower[i].key, upper[j].key);
    if (order >= 0) {
      is_new |= 1u << count;
      merged[count++] = upper[j++];
      i += order == 0;
    } else if (room > 0) {
      room--;
      merged[count++] = lower[i++];
    } else {
      ha_add_relaxed(&counts.refused, 1);
      i++;
    }
  }
  return intern_or_other(merged, count, is_new);
}

uint32_t ha_label_set_merge_anew(uint32_t base, uint32_t added) {
  if (base == added) {
    return added;
  }
  if (added == HA_LABEL_SET_EMPTY) {
    return base;
  }
  if ((base | added) >> HA_LABEL_ID_BITS != 0) {
    return merge_items(base, added); /* no id of ours */
  }
  uint64_t pair = (uint64_t)base << HA_LABEL_ID_BITS | added;
  uint64_t *slot = ha_label_merge_slot(pair);
  uint64_t *second = &ha_label_merges[(slot - ha_label_merges) ^ 1];
  uint64_t known = ha_load_acquire(second); /* pairs with the release below: the set is readable */
  if (known >> HA_LABEL_ID_BITS == pair) {
    return (uint32_t)(known & HA_LABEL_SET_OTHER);
  }
  uint32_t merged = merge_items(base, added);
  uint64_t *target = ha_load_relaxed(slot) == 0 ? slot : second;
  ha_store_release(target, pair << HA_LABEL_ID_BITS | merged);
  return merged;
}
