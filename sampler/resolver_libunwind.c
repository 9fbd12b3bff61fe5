/* SPDX-License-Identifier: MIT */
/*
 * libunwind steps over one frame whose stack and frame pointers are made-up numbers, far apart and far from
 * all else. Where the caller's stack pointer and the places of its saved registers come out then tells what
 * they were computed from, and by which offset. Reads near the made-up numbers are answered with marks, so
 * that a CFA that was loaded from memory can be told, too.
 */
#include "sampler/resolver.h"

#include <dlfcn.h>
#include <libunwind.h>
#include <stdlib.h>
#include <string.h>

#include "sampler/cfi.h"

#define MADE_UP_STACK UINT64_C(0x0010000000000000)
#define MADE_UP_FRAME UINT64_C(0x0020000000000000)
#define MADE_UP_BASE UINT64_C(0x0030000000000000)
#define MADE_UP_OTHER UINT64_C(0x0060000000000000)
#define LOADED_MARK UINT64_C(0x0100000000000000)
#define NEAR UINT64_C(0x0004000000000000)
#define LOWEST_ADDRESS UINT64_C(4096)
#define WORD 8

extern int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t space, unw_word_t ip, unw_dyn_info_t *info,
                                              unw_proc_info_t *procedure, int need_unwind_info, void *arg);

struct question {
  uintptr_t ip;
};

static bool is_near(uint64_t value, uint64_t made_up) {
  return value > made_up - NEAR && value < made_up + NEAR;
}

static int find_procedure(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *procedure,
                          int need_unwind_info, void *arg) {
  struct dl_find_object object;
  if (_dl_find_object((void *)ip, &object) != 0 || object.dlfo_eh_frame == NULL) {
    return -UNW_ENOINFO;
  }
  const uint8_t *header = object.dlfo_eh_frame;
  const size_t table_offset = 12; /* four bytes of form, the pointer to .eh_frame, the count */
  uint32_t count;
  memcpy(&count, header + table_offset - sizeof count, sizeof count);
  unw_dyn_info_t info;
  memset(&info, 0, sizeof info);
  info.format = UNW_INFO_FORMAT_REMOTE_TABLE;
  info.start_ip = (unw_word_t)object.dlfo_map_start;
  info.end_ip = (unw_word_t)object.dlfo_map_end;
  info.u.rti.segbase = (unw_word_t)header;
  info.u.rti.table_data = (unw_word_t)(header + table_offset);
  info.u.rti.table_len = (unw_word_t)count * 2 * sizeof(int32_t) / sizeof(unw_word_t);
  return _Ux86_64_dwarf_search_unwind_table(space, ip, &info, procedure, need_unwind_info, arg);
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *procedure, void *arg) {
}

static int get_dyn_info_list(unw_addr_space_t space, unw_word_t *list, void *arg) {
  return -UNW_ENOINFO;
}

static int access_memory(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int is_write,
                         void *arg) {
  if (is_write != 0 || address < LOWEST_ADDRESS) {
    return -UNW_EINVAL;
  }
  /* Also behind a mark: what lies at a CFA that was itself loaded. */
  unw_word_t unmarked = address & ~LOADED_MARK;
  if (is_near(unmarked, MADE_UP_STACK) || is_near(unmarked, MADE_UP_FRAME) ||
      is_near(unmarked, MADE_UP_BASE)) {
    *value = address | LOADED_MARK;
    return 0;
  }
  /* Tables are in objects; an expression on other made-up registers may lead anywhere. */
  struct dl_find_object object;
  if (_dl_find_object((void *)address, &object) != 0 ||
      address + sizeof *value > (uintptr_t)object.dlfo_map_end) {
    return -UNW_EINVAL;
  }
  memcpy(value, (const void *)address, sizeof *value);
  return 0;
}

static int access_register(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value, int is_write,
                           void *arg) {
  if (is_write != 0) {
    return -UNW_EBADREG;
  }
  const struct question *question = arg;
  switch (number) {
  case UNW_X86_64_RIP:
    *value = question->ip;
    break;
  case UNW_X86_64_RSP:
    *value = MADE_UP_STACK;
    break;
  case UNW_X86_64_RBP:
    *value = MADE_UP_FRAME;
    break;
  case UNW_X86_64_RBX:
    *value = MADE_UP_BASE;
    break;
  default:
    *value = MADE_UP_OTHER + (unw_word_t)number;
  }
  return 0;
}

static int access_float(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value, int is_write,
                        void *arg) {
  return -UNW_EBADREG;
}

static int resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg) {
  return -UNW_EINVAL;
}

static int get_name(unw_addr_space_t space, unw_word_t ip, char *name, size_t size, unw_word_t *offset,
                    void *arg) {
  return -UNW_ENOINFO;
}

static unw_addr_space_t made_up_space(void) {
  static unw_accessors_t accessors = {find_procedure, put_unwind_info, get_dyn_info_list,
                                      access_memory,  access_register, access_float,
                                      resume,         get_name};
  static unw_addr_space_t space;
  if (space == NULL) {
    space = unw_create_addr_space(&accessors, 0);
    unw_set_caching_policy(space, UNW_CACHE_NONE);
  }
  return space;
}

/* What the caller's stack pointer was computed from. */
static bool read_cfa(uint64_t sp, struct ha_rule *rule) {
  if (is_near(sp, MADE_UP_STACK)) {
    rule->kind = HA_RULE_STACK;
    rule->cfa_offset = (int32_t)(int64_t)(sp - MADE_UP_STACK);
  } else if (is_near(sp, MADE_UP_FRAME)) {
    rule->kind = HA_RULE_FRAME;
    rule->cfa_offset = (int32_t)(int64_t)(sp - MADE_UP_FRAME);
  } else if (is_near(sp, MADE_UP_BASE)) {
    rule->kind = HA_RULE_BASE;
    rule->cfa_offset = (int32_t)(int64_t)(sp - MADE_UP_BASE);
  } else if (is_near(sp & ~LOADED_MARK, MADE_UP_FRAME)) {
    rule->kind = HA_RULE_LOADED;
    rule->cfa_offset = (int32_t)(int64_t)((sp & ~LOADED_MARK) - MADE_UP_FRAME);
  } else {
    return false;
  }
  return true;
}

static bool read_saved_frame(unw_cursor_t *cursor, uint64_t sp, struct ha_rule *rule) {
  unw_save_loc_t place;
  if (unw_get_save_loc(cursor, UNW_X86_64_RBP, &place) < 0) {
    return false;
  }
  if (place.type != UNW_SLT_MEMORY) {
    rule->frame_place = HA_FRAME_KEPT;
  } else if (is_near(place.u.addr, MADE_UP_FRAME) && rule->kind != HA_RULE_FRAME) {
    rule->frame_place = HA_FRAME_AT_FRAME;
    rule->frame_offset = (int32_t)(int64_t)(place.u.addr - MADE_UP_FRAME);
  } else {
    rule->frame_place = HA_FRAME_AT_CFA;
    rule->frame_offset = (int32_t)(int64_t)(place.u.addr - sp);
  }
  return true;
}

__attribute__((visibility("default"))) struct ha_rule ha_libunwind_resolve(uintptr_t pc) {
  const struct ha_rule complex = {.kind = HA_RULE_COMPLEX};
  struct ha_cfi_entry entry;
  if (!ha_cfi_find(pc, &entry)) {
    return (struct ha_rule){.kind =
                                HA_RULE_UNKNOWN}; /* libunwind says "last" for code it knows nothing about */
  }
  /* The first frame of a walk is taken to be executing exactly there. */
  struct question question = {pc};
  unw_cursor_t cursor;
  if (unw_init_remote(&cursor, made_up_space(), &question) < 0) {
    return complex;
  }
  if (unw_is_signal_frame(&cursor) > 0 || entry.is_signal_frame) {
    return (struct ha_rule){.kind = HA_RULE_SIGNAL};
  }
  int step = unw_step(&cursor);
  if (step == 0) {
    return (struct ha_rule){.kind = HA_RULE_LAST};
  }
  struct ha_rule rule = complex;
  unw_word_t sp;
  unw_save_loc_t return_place;
  bool is_understood = step > 0 && unw_get_reg(&cursor, UNW_X86_64_RSP, &sp) >= 0 &&
                       unw_get_save_loc(&cursor, UNW_X86_64_RIP, &return_place) >= 0 &&
                       return_place.type == UNW_SLT_MEMORY && return_place.u.addr == sp - WORD &&
                       read_cfa(sp, &rule) && read_saved_frame(&cursor, sp, &rule);
  bool fits = abs(rule.cfa_offset) < 1 << (HA_RULE_CFA_BITS - 1) &&
              abs(rule.frame_offset) / HA_RULE_WORD < 1 << (HA_RULE_FRAME_BITS - 1);
  return is_understood && fits ? rule : complex;
}
