/* SPDX-License-Identifier: MIT */
/*
 * The options of a verb, read one at a time.
 *
 * As in Go's flag package, one dash and two dashes mean the same, and a value follows after '=' or as the
 * next word. A verb gives a table of its options and calls ha_arguments_next until it returns
 * HA_ARGUMENT_END; the verb decides whether options may follow a plain word. An option that is not in the
 * table, a missing value or a value for a flag is complained about here, once, in one line.
 */
#ifndef HA_TOOLS_OPTIONS_H
#define HA_TOOLS_OPTIONS_H

#include "base/compiler.h"

struct ha_option {
  const char *name;       /* without dashes */
  const char *short_name; /* a second name, or NULL */
  const char *value_form; /* what the value is, for complaints; NULL: a flag, which takes none */
};

struct ha_arguments {
  const char *verb;
  const struct ha_option *options;
  size_t option_count;
  char **words; /* ends with NULL, as argv does */
  int next;
  const char *value; /* of the option returned last, or the plain word itself */
};

enum {
  HA_ARGUMENT_END = -1,
  HA_ARGUMENT_PLAIN = -2,  /* value is the word */
  HA_ARGUMENT_DASHES = -3, /* the word "--" */
  HA_ARGUMENT_BAD = -4,    /* already complained about */
};

/* The index of an option in the table, or one of the values above. */
int ha_arguments_next(struct ha_arguments *args);

/* A whole decimal number in min…max and nothing else; otherwise false and *ret_value is untouched. */
bool ha_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);

#endif
