/* SPDX-License-Identifier: MIT */
/*
 * From an address to its entry: ld.so's lock-free _dl_find_object gives the object's .eh_frame_hdr, whose
 * sorted table gives the entry. Only the forms that GNU ld, gold and lld write are understood; anything else
 * is "nothing found".
 */
#include "sampler/cfi.h"

#include <dlfcn.h>
#include <string.h>

/* Pointer encodings of the Linux Standard Base that occur in practice. */
#define ENCODING_OMIT 0xff
#define ENCODING_FORMAT 0x0f
#define ENCODING_APPLICATION 0x70
#define FORMAT_ABSOLUTE 0x00
#define FORMAT_UDATA4 0x03
#define FORMAT_UDATA8 0x04
#define FORMAT_SDATA4 0x0b
#define FORMAT_SDATA8 0x0c
#define RELATIVE_TO_PC 0x10
#define HEADER_VERSION 1
#define HEADER_COUNT_UDATA4 0x03
#define HEADER_TABLE_DATAREL_SDATA4 0x3b

struct header {
  uint8_t version;
  uint8_t pointer_encoding;
  uint8_t count_encoding;
  uint8_t table_encoding;
};

/* Offsets from the start of the header. */
struct table_row {
  int32_t function;
  int32_t entry;
};

uint8_t ha_cfi_u8(struct ha_cfi_cursor *cursor) {
  return cursor->at < cursor->end ? *cursor->at++ : 0;
}

uint64_t ha_cfi_fixed(struct ha_cfi_cursor *cursor, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; i++) {
    value |= (uint64_t)ha_cfi_u8(cursor) << (8 * i);
  }
  return value;
}

uint64_t ha_cfi_uleb(struct ha_cfi_cursor *cursor) {
  uint64_t value = 0;
  uint8_t byte = 0x80;
  for (unsigned shift = 0; (byte & 0x80) != 0 && shift < 64; shift += 7) {
    byte = ha_cfi_u8(cursor);
    value |= (uint64_t)(byte & 0x7f) << shift;
  }
  return value;
}

int64_t ha_cfi_sleb(struct ha_cfi_cursor *cursor) {
  uint64_t value = 0;
  uint8_t byte = 0x80;
  unsigned shift = 0;
  while ((byte & 0x80) != 0 && shift < 64) {
    byte = ha_cfi_u8(cursor);
    value |= (uint64_t)(byte & 0x7f) << shift;
    shift += 7;
  }
  if ((byte & 0x40) != 0 && shift < 64) {
    value |= ~(uint64_t)0 << shift;
  }
  return (int64_t)value;
}

struct ha_cfi_cursor ha_cfi_block(struct ha_cfi_cursor *cursor, uint64_t length) {
  uint64_t left = (uint64_t)(cursor->end - cursor->at);
  struct ha_cfi_cursor block = {cursor->at, cursor->at + (length < left ? length : left)};
  cursor->at = block.end;
  return block;
}

/* A pointer in an entry. *is_known turns false for an encoding that does not occur. */
static uintptr_t read_pointer(struct ha_cfi_cursor *cursor, uint8_t encoding, bool *is_known) {
  uintptr_t place = (uintptr_t)cursor->at;
  uintptr_t value = 0;
  switch (encoding & ENCODING_FORMAT) {
  case FORMAT_ABSOLUTE:
  case FORMAT_UDATA8:
  case FORMAT_SDATA8:
    value = ha_cfi_fixed(cursor, 8);
    break;
  case FORMAT_UDATA4:
    value = ha_cfi_fixed(cursor, 4);
    break;
  case FORMAT_SDATA4:
    value = (uintptr_t)(int64_t)(int32_t)ha_cfi_fixed(cursor, 4);
    break;
  default:
    *is_known = false;
  }
  uint8_t application = encoding & ENCODING_APPLICATION;
  if (application == RELATIVE_TO_PC) {
    value += place;
  } else if (application != 0) {
    *is_known = false;
  }
  return value;
}

/* The entry (FDE) for pc by the header's table, or NULL. */
static const uint8_t *search(const uint8_t *header, uintptr_t pc) {
  struct header form;
  memcpy(&form, header, sizeof form);
  if (form.version != HEADER_VERSION || form.count_encoding != HEADER_COUNT_UDATA4 ||
      form.table_encoding != HEADER_TABLE_DATAREL_SDATA4) {
    return NULL;
  }
  uint32_t high;
  memcpy(&high, header + sizeof form + sizeof(int32_t), sizeof high);
  const struct table_row *rows =
      (const struct table_row *)(const void *)(header + sizeof form + sizeof(int32_t) + sizeof high);
  int64_t wanted = (int64_t)(pc - (uintptr_t)header);
  uint32_t low = 0;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (rows[middle].function <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low > 0 ? header + rows[low - 1].entry : NULL;
}

/* The record at `at`: its content behind the length. Empty for the terminator and the 64-bit form. */
static struct ha_cfi_cursor open_record(const uint8_t *at) {
  uint32_t length;
  memcpy(&length, at, sizeof length);
  at += sizeof length;
  return (struct ha_cfi_cursor){at, length == UINT32_MAX ? at : at + length};
}

/* What the letters of the augmentation string announce. */
static bool read_augmentation(struct ha_cfi_cursor data, const char *letters, struct ha_cfi_entry *entry) {
  bool is_known = true;
  for (; *letters != '\0' && is_known; letters++) {
    switch (*letters) {
    case 'R':
      entry->pointer_encoding = ha_cfi_u8(&data);
      break;
    case 'P':
      (void)read_pointer(&data, ha_cfi_u8(&data) & 0x7f, &is_known);
      break;
    case 'L':
      (void)ha_cfi_u8(&data);
      break;
    case 'S':
      entry->is_signal_frame = true;
      break;
    default:
      is_known = false;
    }
  }
  return is_known;
}

static bool read_common(struct ha_cfi_cursor cie, struct ha_cfi_entry *entry, bool *has_augmentation) {
  if (ha_cfi_fixed(&cie, 4) != 0) {
    return false; /* not a CIE */
  }
  uint8_t version = ha_cfi_u8(&cie);
  const char *letters = (const char *)cie.at;
  while (ha_cfi_u8(&cie) != 0) {
  }
  if (version != 1 && version != 3) {
    return false;
  }
  entry->code_factor = ha_cfi_uleb(&cie);
  entry->data_factor = ha_cfi_sleb(&cie);
  entry->return_register = version == 1 ? ha_cfi_u8(&cie) : ha_cfi_uleb(&cie);
  entry->pointer_encoding = FORMAT_ABSOLUTE;
  entry->is_signal_frame = false;
  *has_augmentation = letters[0] == 'z';
  if (*has_augmentation) {
    struct ha_cfi_cursor data = ha_cfi_block(&cie, ha_cfi_uleb(&cie));
    if (!read_augmentation(data, letters + 1, entry)) {
      return false;
    }
  } else if (letters[0] != '\0') {
    return false;
  }
  entry->common = cie;
  return true;
}

bool ha_cfi_find(uintptr_t pc, struct ha_cfi_entry *ret_entry) {
  struct dl_find_object object;
  if (_dl_find_object((void *)pc, &object) != 0 || object.dlfo_eh_frame == NULL) {
    return false;
  }
  const uint8_t *at = search(object.dlfo_eh_frame, pc);
  if (at == NULL) {
    return false;
  }
  struct ha_cfi_cursor fde = open_record(at);
  const uint8_t *place = fde.at;
  uint64_t distance = ha_cfi_fixed(&fde, 4);
  bool has_augmentation;
  if (distance == 0 || !read_common(open_record(place - distance), ret_entry, &has_augmentation)) {
    return false;
  }
  bool is_known = ret_entry->pointer_encoding != ENCODING_OMIT;
  ret_entry->start = read_pointer(&fde, ret_entry->pointer_encoding, &is_known);
  uintptr_t length = read_pointer(&fde, ret_entry->pointer_encoding & ENCODING_FORMAT, &is_known);
  if (!is_known || pc < ret_entry->start || pc - ret_entry->start >= length) {
    return false;
  }
  if (has_augmentation) {
    (void)ha_cfi_block(&fde, ha_cfi_uleb(&fde));
  }
  ret_entry->program = fde;
  return true;
}
