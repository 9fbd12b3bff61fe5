/* SPDX-License-Identifier: MIT */
/*
 * Units and percentages. The families are tables; a unit of a profile is found by any of its usual spellings,
 * in any case and with or without a final s. Nothing here allocates.
 */
#include "tools/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define UNITS_MAX 6
#define UNIT_NAMES_MAX 3
#define UNIT_WORD_MAX 16
#define KILO 1024.0
/* A row may be shown as 0.01 of the table's unit, not less. */
#define SMALLEST_SHARE 100
#define PERCENT 100.0
#define PERCENT_WHOLE_MIN 99.95
#define PERCENT_WHOLE_MAX 100.05

struct unit {
  const char *suffix;
  const char *names[UNIT_NAMES_MAX];
  double factor;
};

struct unit_family {
  struct unit units[UNITS_MAX];
  size_t fallback; /* shows a value that is smaller than every unit */
};

static const struct unit_family families[] = {
    {{{"B", {"b", "byte"}, 1},
      {"kB", {"kb", "kbyte", "kilobyte"}, KILO},
      {"MB", {"mb", "mbyte", "megabyte"}, KILO *KILO},
      {"GB", {"gb", "gbyte", "gigabyte"}, KILO *KILO *KILO},
      {"TB", {"tb", "tbyte", "terabyte"}, KILO *KILO *KILO *KILO},
      {"PB", {"pb", "pbyte", "petabyte"}, KILO *KILO *KILO *KILO *KILO}},
     0},
    {{{"ns", {"ns", "nanosecond"}, 1},
      {"us", {"us", "microsecond"}, 1e3},
      {"ms", {"ms", "millisecond"}, 1e6},
      {"s", {"s", "sec", "second"}, 1e9},
      {"hrs", {"hr", "hour"}, 3600e9}},
     3},
};

static bool has_name(const struct unit *unit, const char *word) {
  for (size_t i = 0; i < UNIT_NAMES_MAX && unit->names[i] != NULL; i++) {
    if (strcasecmp(unit->names[i], word) == 0)
      return true;
  }
  return false;
}

static const struct unit *find_unit(const char *name, const struct unit_family **ret_family) {
  char word[UNIT_WORD_MAX];
  size_t length = strlen(name);
  if (length >= sizeof word)
    return NULL;
  memcpy(word, name, length + 1);
  if (length > 2 && (word[length - 1] == 's' || word[length - 1] == 'S'))
    word[length - 1] = '\0';
  for (size_t f = 0; f < HA_ARRAY_LEN(families); f++) {
    for (size_t i = 0; i < UNITS_MAX && families[f].units[i].suffix != NULL; i++) {
      if (has_name(&families[f].units[i], word)) {
        *ret_family = &families[f];
        return &families[f].units[i];
      }
    }
  }
  return NULL;
}

struct ha_scale ha_scale_one(double value, const char *unit) {
  const struct unit_family *family = NULL;
  const struct unit *from = find_unit(unit, &family);
  if (from == NULL)
    return (struct ha_scale){1, ""};
  const struct unit *best = &family->units[family->fallback];
  bool found = false;
  for (size_t i = 0; i < UNITS_MAX && family->units[i].suffix != NULL; i++) {
    if (fabs(value) * from->factor >= family->units[i].factor) {
      best = &family->units[i];
      found = true;
    }
  }
  return (struct ha_scale){(found ? best->factor : family->units[family->fallback].factor) / from->factor,
                           best->suffix};
}

struct ha_scale ha_scale_for(uint64_t smallest, uint64_t largest, const char *unit) {
  if (smallest == 0)
    smallest = largest;
  struct ha_scale low = ha_scale_one((double)smallest, unit);
  struct ha_scale high = ha_scale_one((double)largest, unit);
  if (low.divisor != high.divisor && (double)smallest * SMALLEST_SHARE < (double)largest)
    return ha_scale_one((double)smallest * SMALLEST_SHARE, unit);
  return low;
}

struct ha_value_text ha_format_scaled(double value, struct ha_scale scale) {
  struct ha_value_text out;
  int length = snprintf(out.text, sizeof out.text, "%.2f", value / scale.divisor);
  const char *empty_fraction = ".00";
  size_t cut = strlen(empty_fraction);
  if ((size_t)length > cut && strcmp(out.text + length - cut, empty_fraction) == 0)
    out.text[(size_t)length - cut] = '\0';
  if (strcmp(out.text, "0") == 0 || strcmp(out.text, "-0") == 0) {
    strcpy(out.text, "0");
    return out;
  }
  size_t used = strlen(out.text);
  snprintf(out.text + used, sizeof out.text - used, "%s", scale.suffix);
  return out;
}

struct ha_value_text ha_format_value(double value, const char *unit) {
  return ha_format_scaled(value, ha_scale_one(value, unit));
}

struct ha_value_text ha_format_percent(int64_t value, int64_t total) {
  struct ha_value_text out;
  double ratio = total == 0 ? 0 : fabs((double)value / (double)total) * PERCENT;
  if (ratio >= PERCENT_WHOLE_MIN && ratio <= PERCENT_WHOLE_MAX)
    strcpy(out.text, "  100%");
  else if (ratio >= 1)
    snprintf(out.text, sizeof out.text, "%5.2f%%", ratio);
  else
    snprintf(out.text, sizeof out.text, "%5.2g%%", ratio);
  return out;
}
