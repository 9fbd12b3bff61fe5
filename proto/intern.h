/* SPDX-License-Identifier: MIT */
/*
 * The string table of a profile: each distinct text once, found by its number. Number 0 is always "".
 *
 * Readers insist on UTF-8, while paths and symbol names are any bytes: those that do not belong to a valid
 * UTF-8 sequence, and control characters, are stored as '?'. Texts are copied. Costs about 20 bytes per text
 * besides the copy.
 */
#ifndef HA_PROTO_INTERN_H
#define HA_PROTO_INTERN_H

#include "proto/scratch.h"

struct ha_strings {
  struct ha_scratch *scratch;
  char **items;
  uint32_t count;
  uint32_t capacity;
  uint32_t *slots;     /* open addressing: number + 1, 0 is free */
  uint32_t slot_count; /* a power of two, more than half free */
};

/* 0 or -ENOMEM. */
int ha_strings_init(struct ha_strings *strings, struct ha_scratch *scratch);
/* The number of a text, NULL counting as ""; 0 or -ENOMEM. */
int ha_strings_intern(struct ha_strings *strings, const char *text, uint32_t *ret_number);
/* A copy that is valid UTF-8 without control characters; NULL: out of memory. */
char *ha_copy_printable(struct ha_scratch *scratch, const char *text);

#endif
