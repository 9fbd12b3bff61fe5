/* SPDX-License-Identifier: MIT */
/*
 * String interning. A text is copied before it is looked up, because what is looked up
 * is its printable form; the copy is small and the lookups that find something are few.
 */
#include "proto/intern.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

#define FIRST_SLOTS 256
/* The 64-bit parameters of the FNV-1a hash (draft-eastlake-fnv). */
#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

char *ha_copy_printable(struct ha_scratch *scratch, const char *text) {
  char *copy = ha_scratch_copy_text(scratch, text, strlen(text));
  for (char *at = copy; at != NULL && *at != '\0';) {
    size_t size = ha_text_printable(at);
    if (size == 0) {
      *at = '?';
    }
    at += size == 0 ? 1 : size;
  }
  return copy;
}

static uint64_t hash_text(const char *text) {
  uint64_t hash = FNV_BASIS;
  for (; *text != '\0'; text++) {
    hash = (hash ^ (unsigned char)*text) * FNV_PRIME;
  }
  return hash;
}

/* The slot that holds text or, if none does, the free one where it belongs. */
static uint32_t *find_slot(const struct ha_strings *strings, const char *text) {
  uint32_t mask = strings->slot_count - 1;
  uint32_t at = (uint32_t)hash_text(text) & mask;
  while (strings->slots[at] != 0 && strcmp(strings->items[strings->slots[at] - 1], text) != 0) {
    at = (at + 1) & mask;
  }
  return &strings->slots[at];
}

static int grow_slots(struct ha_strings *strings) {
  uint32_t larger = strings->slot_count == 0 ? FIRST_SLOTS : strings->slot_count * 2;
  uint32_t *slots = ha_scratch_zalloc(strings->scratch, larger, sizeof(*slots));
  if (slots == NULL || larger == 0) {
    return -ENOMEM;
  }
  strings->slots = slots;
  strings->slot_count = larger;
  for (uint32_t i = 0; i < strings->count; i++) {
    *find_slot(strings, strings->items[i]) = i + 1;
  }
  return 0;
}

int ha_strings_init(struct ha_strings *strings, struct ha_scratch *scratch) {
  uint32_t empty;
  *strings = (struct ha_strings){.scratch = scratch};
  return ha_strings_intern(strings, "", &empty);
}

int ha_strings_intern(struct ha_strings *strings, const char *text, uint32_t *ret_number) {
  char *copy = ha_copy_printable(strings->scratch, text != NULL ? text : "");
  if (copy == NULL || (strings->count >= strings->slot_count / 2 && grow_slots(strings) != 0)) {
    return -ENOMEM;
  }
  uint32_t *slot = find_slot(strings, copy);
  if (*slot == 0) {
    char **items =
        ha_scratch_room(strings->scratch, strings->items, strings->count, &strings->capacity, sizeof(*items));
    if (items == NULL) {
      return -ENOMEM;
    }
    strings->items = items;
    items[strings->count++] = copy;
    *slot = strings->count;
  }
  *ret_number = *slot - 1;
  return 0;
}
