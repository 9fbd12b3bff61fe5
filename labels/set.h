/* SPDX-License-Identifier: MIT */
/*
 * Label sets: keys with values, immutable, interned by content, named by a 32-bit id that lasts as long as
 * the process. Equal content is the same id on every thread; 0 is the empty set.
 *
 * What is stored is bounded: keys per set, bytes of a key and of a value, sets, and bytes of all sets
 * together. A set that finds no room has its new values replaced by "[other]", for which room is kept back;
 * if even that is used up it is the set {halloc_labels="[other]"}. Nothing is ever removed.
 *
 * Lock-free, and never calls malloc. A set costs 24 bytes and its text. Interning one that is known takes
 * about 60 ns for two labels; a merge that was done before takes one load.
 */
#ifndef HA_LABELS_SET_H
#define HA_LABELS_SET_H

#include "base/atomic.h"
#include "base/config.h"

#define HA_LABELS_MAX 16        /* in a set */
#define HA_LABEL_VALUE_MAX 128  /* bytes of a value; HA_LABEL_KEY_MAX of a key */
#define HA_LABEL_SETS_MAX 65536 /* distinct sets */
#define HA_LABEL_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define HA_LABEL_OTHER "[other]"

#define HA_LABEL_SET_EMPTY 0u
#define HA_LABEL_ID_BITS 21
/* {halloc_labels="[other]"}; the largest id. */
#define HA_LABEL_SET_OTHER 0x1fffffu

struct ha_label {
  const char *key;
  const char *value;
};

/* Labels on their way into a set: sorted by key, each key once. */
struct ha_label_draft {
  uint32_t count;
  uint32_t used; /* bit per element of values */
  struct ha_label items[HA_LABELS_MAX];
  char values[HA_LABELS_MAX][HA_LABEL_VALUE_MAX + 1];
};

void ha_label_draft_begin(struct ha_label_draft *draft);
/* The key must live until the draft is interned, the value is copied. A later value of the same key wins;
 * NULL or "" is no label. A key that is no name, too long, reserved or one too many is left out and counted
 * as refused; one that HALLOC_LABEL_KEYS does not list is left out. */
void ha_label_draft_put(struct ha_label_draft *draft, const char *key, const char *value);

/* The set of a draft. */
uint32_t ha_label_set_intern(const struct ha_label_draft *draft);

/*
 * What was merged before: words of base, added and merged id, each written whole. A pair has two places; this
 * is the first. Atomic; release and acquire, so that who finds an id can read the set.
 */
#define HA_LABEL_MERGE_BITS 13
extern uint64_t ha_label_merges[1 << HA_LABEL_MERGE_BITS];

HA_INLINE uint64_t *ha_label_merge_slot(uint64_t pair) {
  return &ha_label_merges[pair * 0x9e3779b97f4a7c15u >> (64 - HA_LABEL_MERGE_BITS)];
}

/* Whether the merge of two sets is at hand. */
HA_INLINE bool ha_label_set_merge_known(uint32_t base, uint32_t added, uint32_t *ret_merged) {
  uint64_t pair = (uint64_t)base << HA_LABEL_ID_BITS | added;
  uint64_t known = ha_load_acquire(ha_label_merge_slot(pair));
  *ret_merged = base == HA_LABEL_SET_EMPTY ? added : (uint32_t)(known & HA_LABEL_SET_OTHER);
  return base == HA_LABEL_SET_EMPTY || known >> HA_LABEL_ID_BITS == pair;
}

/* For a merge that is not at hand. */
uint32_t ha_label_set_merge_anew(uint32_t base, uint32_t added);

/* The set with all labels of both, those of `added` where both have a key. */
HA_INLINE uint32_t ha_label_set_merge(uint32_t base, uint32_t added) {
  uint32_t merged;
  bool is_known = ha_label_set_merge_known(base, added, &merged);
  return ha_likely(is_known) ? merged : ha_label_set_merge_anew(base, added);
}

/* One label of a set, in the order of the keys; false beyond the last, and for what is no id. The texts live
 * as long as the process. */
bool ha_label_set_item(uint32_t set, uint32_t index, const char **ret_key, const char **ret_value);

struct ha_label_counts {
  uint64_t sets;       /* distinct ones so far */
  uint64_t bytes;      /* of the sets */
  uint64_t overflowed; /* how often a set found no room */
  uint64_t refused;    /* labels left out for their key, or for want of room in their set */
};

struct ha_label_counts ha_label_counts(void);

#endif
