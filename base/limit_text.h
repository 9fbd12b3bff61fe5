/* SPDX-License-Identifier: MIT */
/*
 * The text of a memory limit, as HALLOC_MEMLIMIT has it.
 *
 * The grammar is that of Go's GOMEMLIMIT, extended by percentages and hardness:
 *
 *   ( off | [0-9]+ ( ( [KMGT]i )? B )? | [0-9]+ % ) ( ,hard )?
 *
 * Like Go, it has no sign, space, fraction, lower-case unit or KB, accepts 0 and leading zeros, and refuses
 * what exceeds an int64. Percentages are 1 to 100. The empty text is malformed, as it is for every variable
 * of ours; Go takes it for off.
 *
 * Pure: keeps no state, calls nothing, async-signal-safe. Costs one pass over the text.
 */
#ifndef HA_BASE_LIMIT_TEXT_H
#define HA_BASE_LIMIT_TEXT_H

#include "base/compiler.h"

enum ha_limit_kind { HA_LIMIT_OFF, HA_LIMIT_BYTES, HA_LIMIT_PERCENT };

struct ha_limit_setting {
  enum ha_limit_kind kind;
  int64_t value; /* bytes, at least 0; or percent, 1 to 100; 0 when off */
  bool is_hard;
};

/* For messages: "expected " HA_LIMIT_TEXT_ACCEPTED. */
#define HA_LIMIT_TEXT_ACCEPTED                                                                               \
  "off, bytes such as 943718400 or 900MiB (B, KiB, MiB, GiB, TiB), or 1% to 100%, each with or without "     \
  ",hard"

/* False, and the setting is as it was, unless the whole text is of the form above. */
bool ha_limit_text_parse(struct ha_limit_setting *setting, const char *text);

#endif
