/* SPDX-License-Identifier: MIT */
/*
 * The thread's current label set: one initial-exec thread-local word, read when a sample is taken and never
 * on the way of an ordinary allocation.
 */
#include "labels/context.h"

#include <stdarg.h>
#include <string.h>

#include "halloc.h"
#include "labels/set.h"

#undef hp_labels

HA_TLS uint32_t ha_labels_id = HA_LABEL_SET_EMPTY;

uint32_t ha_labels_current(void) {
  return ha_labels_id;
}

static hp_labels_t exchange(uint32_t set) {
  hp_labels_t before = {ha_labels_id};
  ha_labels_id = set;
  return before;
}

HA_EXPORT hp_labels_t hp_labels(const char *key, const char *value, ...) {
  struct ha_label_draft draft;
  va_list rest;
  ha_label_draft_begin(&draft);
  va_start(rest, value);
  for (; key != NULL;
       key = va_arg(rest, const char *), value = key != NULL ? va_arg(rest, const char *) : NULL) {
    ha_label_draft_put(&draft, key, value);
  }
  va_end(rest);
  return (hp_labels_t){ha_label_set_intern(&draft)};
}

typedef void arg_fn(void *arg);

static HA_NOINLINE void call_slow(arg_fn *fn, void *arg, uint32_t added) {
  uint32_t before = ha_labels_id;
  ha_labels_id = ha_label_set_merge_anew(before, added);
  ha_labels_call(fn, arg, before);
}

HA_INLINE void call(arg_fn *fn, void *arg, uint32_t added) {
  uint32_t before = ha_labels_id;
  uint32_t merged;
  if (ha_unlikely(!ha_label_set_merge_known(before, added, &merged))) {
    call_slow(fn, arg, added);
    return;
  }
  ha_labels_id = merged;
  ha_labels_call(fn, arg, before);
}

HA_EXPORT void hp_do_arg(hp_labels_t labels, arg_fn *fn, void *arg) {
  call(fn, arg, labels.id);
}

HA_EXPORT void hp_do(hp_labels_t labels, void (*fn)(void)) {
  /* A function without parameters does not look at the register of the first. */
  call((arg_fn *)(void *)fn, NULL, labels.id);
}

HA_EXPORT hp_labels_t hp_set_labels(hp_labels_t labels) {
  return exchange(labels.id);
}

HA_EXPORT hp_labels_t hp_add_labels(hp_labels_t labels) {
  return exchange(ha_label_set_merge(ha_labels_id, labels.id));
}

HA_EXPORT hp_labels_t hp_current_labels(void) {
  return (hp_labels_t){ha_labels_id};
}

HA_EXPORT const char *hp_label(const char *key) {
  const char *found, *value;
  for (uint32_t i = 0; key != NULL && ha_label_set_item(ha_labels_id, i, &found, &value); i++) {
    if (strcmp(found, key) == 0) {
      return value;
    }
  }
  return NULL;
}
