/* SPDX-License-Identifier: MIT */
/*
 * Hashing (FNV-1a, seeded by nothing: a hostile profile costs time, not correctness) with linear probing. The
 * slots are doubled when half of them are taken.
 */
#include "tools/names.h"

#include <stdlib.h>
#include <string.h>

#include "tools/report.h"

#define FIRST_SLOTS 1024
/* The parameters of 64-bit FNV-1a. */
#define FNV_OFFSET 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t hash(const char *text) {
  uint64_t value = FNV_OFFSET;
  for (; *text != '\0'; text++)
    value = (value ^ (unsigned char)*text) * FNV_PRIME;
  return value;
}

/* The slot of the name, or the free one where it belongs. */
static uint32_t *find_slot(const struct ha_names *names, const char *text) {
  size_t place = hash(text) & (names->slot_count - 1);
  while (names->slots[place] != 0 && strcmp(names->texts[names->slots[place] - 1], text) != 0)
    place = (place + 1) & (names->slot_count - 1);
  return &names->slots[place];
}

static void grow_slots(struct ha_names *names) {
  free(names->slots);
  names->slot_count = names->slot_count == 0 ? FIRST_SLOTS : names->slot_count * 2;
  names->slots = ha_array(names->slot_count, sizeof *names->slots);
  for (uint32_t i = 0; i < names->count; i++)
    *find_slot(names, names->texts[i]) = i + 1;
}

uint32_t ha_names_add(struct ha_names *names, char *text) {
  if ((size_t)names->count * 2 >= names->slot_count)
    grow_slots(names);
  uint32_t *slot = find_slot(names, text);
  if (*slot != 0) {
    free(text);
    return *slot - 1;
  }
  names->texts =
      ha_array_grow(names->texts, &names->capacity, (size_t)names->count + 1, sizeof *names->texts);
  names->texts[names->count] = text;
  *slot = ++names->count;
  return names->count - 1;
}

void ha_names_done(struct ha_names *names) {
  for (uint32_t i = 0; i < names->count; i++)
    free((char *)names->texts[i]);
  free(names->texts);
  free(names->slots);
}
