/* SPDX-License-Identifier: MIT */
/*
 * String interning and the check of UTF-8. A text is copied before it is looked up, because what is looked up
 * is its printable form; the copy is small and the lookups that find something are few.
 */
#include "proto/intern.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define FIRST_SLOTS 256
/* The 64-bit parameters of the FNV-1a hash (draft-eastlake-fnv). */
#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/*
 * What a lead byte says of its sequence (Unicode 15, table 3-7): how many bytes it has and the range of the
 * second one, which excludes overlong forms, surrogates and what lies above U+10FFFF.
 */
struct utf8_lead {
  unsigned char first, last, size, second_first, second_last;
};

static const struct utf8_lead utf8_leads[] = {
    {0x20, 0x7e, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
    {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
    {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
};
#define UTF8_LEAD_COUNT (sizeof(utf8_leads) / sizeof(utf8_leads[0]))
#define UTF8_TAIL_FIRST 0x80
#define UTF8_TAIL_LAST 0xbf

/* Does the sequence go on as its lead byte says? The terminating NUL is in no range, so it ends the test. */
static bool has_tail(const unsigned char *text, const struct utf8_lead *lead) {
  if (lead->size > 1 && (text[1] < lead->second_first || text[1] > lead->second_last)) {
    return false;
  }
  for (size_t i = 2; i < lead->size; i++) {
    if (text[i] < UTF8_TAIL_FIRST || text[i] > UTF8_TAIL_LAST) {
      return false;
    }
  }
  return true;
}

/* The size of the printable sequence that begins here, 0: none does. */
static size_t sequence_size(const unsigned char *text) {
  for (size_t i = 0; i < UTF8_LEAD_COUNT; i++) {
    if (text[0] >= utf8_leads[i].first && text[0] <= utf8_leads[i].last) {
      return has_tail(text, &utf8_leads[i]) ? utf8_leads[i].size : 0;
    }
  }
  return 0;
}

char *ha_copy_printable(struct ha_scratch *scratch, const char *text) {
  char *copy = ha_scratch_copy_text(scratch, text, strlen(text));
  for (char *at = copy; at != NULL && *at != '\0';) {
    size_t size = sequence_size((const unsigned char *)at);
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
