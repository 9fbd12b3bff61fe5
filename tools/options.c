/* SPDX-License-Identifier: MIT */
/*
 * Reading options: the word is matched against the names in the verb's table, exactly (no abbreviations, so
 * that a new option never changes the meaning of a script). Nothing is copied: values point into the words
 * given.
 */
#include "tools/options.h"

#include <string.h>

#include "tools/report.h"

#define DECIMAL 10

static bool is_name(const char *name, const char *word, size_t length) {
  return name != NULL && strlen(name) == length && memcmp(name, word, length) == 0;
}

static int find_option(const struct ha_arguments *args, const char *word, size_t length) {
  for (size_t i = 0; i < args->option_count; i++) {
    const struct ha_option *option = &args->options[i];
    if (is_name(option->name, word, length) || is_name(option->short_name, word, length))
      return (int)i;
  }
  return HA_ARGUMENT_BAD;
}

static int complain_value(const struct ha_arguments *args, const char *word, const char *expected) {
  ha_complain("%s: %s: expected %s; nothing was done", args->verb, word, expected);
  return HA_ARGUMENT_BAD;
}

static int read_option(struct ha_arguments *args, const char *word) {
  const char *name = word + (word[1] == '-' ? 2 : 1);
  size_t length = strcspn(name, "=");
  bool has_value = name[length] == '=';
  int index = find_option(args, name, length);
  if (index < 0) {
    ha_complain("%s: %s: expected an option listed by 'halloc %s --help'; nothing was done", args->verb, word,
                args->verb);
    return HA_ARGUMENT_BAD;
  }
  const char *form = args->options[index].value_form;
  if (form == NULL)
    return has_value ? complain_value(args, word, "no value after this option") : index;
  if (has_value) {
    args->value = name + length + 1;
    return index;
  }
  if (args->words[args->next] == NULL)
    return complain_value(args, word, form);
  args->value = args->words[args->next++];
  return index;
}

int ha_arguments_next(struct ha_arguments *args) {
  const char *word = args->words[args->next];
  if (word == NULL)
    return HA_ARGUMENT_END;
  args->next++;
  args->value = word;
  if (strcmp(word, "--") == 0)
    return HA_ARGUMENT_DASHES;
  if (word[0] != '-' || word[1] == '\0')
    return HA_ARGUMENT_PLAIN;
  return read_option(args, word);
}

bool ha_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value) {
  uint64_t value = 0;
  if (*text == '\0')
    return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9')
      return false;
    uint64_t digit = (uint64_t)(*text - '0');
    if (value > (UINT64_MAX - digit) / DECIMAL)
      return false;
    value = value * DECIMAL + digit;
  }
  if (value < min || value > max)
    return false;
  *ret_value = value;
  return true;
}
