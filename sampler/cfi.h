/* SPDX-License-Identifier: MIT */
/*
 * Reading call frame information: a cursor over encoded bytes, and finding the entry that covers an address.
 */
#ifndef HA_SAMPLER_CFI_H
#define HA_SAMPLER_CFI_H

#include "base/compiler.h"

struct ha_cfi_cursor {
  const uint8_t *at;
  const uint8_t *end; /* reading past it gives zeros and leaves the cursor there */
};

uint8_t ha_cfi_u8(struct ha_cfi_cursor *cursor);
uint64_t ha_cfi_fixed(struct ha_cfi_cursor *cursor, unsigned size); /* little-endian, zero-extended */
uint64_t ha_cfi_uleb(struct ha_cfi_cursor *cursor);
int64_t ha_cfi_sleb(struct ha_cfi_cursor *cursor);
/* A block of that length; the cursor moves behind it. */
struct ha_cfi_cursor ha_cfi_block(struct ha_cfi_cursor *cursor, uint64_t length);

/* What a function's entry (FDE) and its common part (CIE) say. */
struct ha_cfi_entry {
  uintptr_t start; /* of the function */
  uint64_t code_factor;
  int64_t data_factor;
  uint64_t return_register;
  bool is_signal_frame;
  uint8_t pointer_encoding;
  struct ha_cfi_cursor common;  /* instructions of the CIE */
  struct ha_cfi_cursor program; /* instructions of the FDE */
};

/* False if nothing covers pc or its form is not one that linkers write. */
bool ha_cfi_find(uintptr_t pc, struct ha_cfi_entry *ret_entry);

#endif
