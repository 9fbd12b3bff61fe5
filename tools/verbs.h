/* SPDX-License-Identifier: MIT */
/*
 * A verb is one thing that the halloc command does: `halloc VERB …`.
 *
 * Every verb is one constant object in a file of its own; main.c lists them. run() gets the words after the
 * verb and returns the exit status of the command, or HA_HELP_WANTED to have its help printed.
 */
#ifndef HA_TOOLS_VERBS_H
#define HA_TOOLS_VERBS_H

#define HA_HELP_WANTED (-1)

struct ha_verb {
  const char *name;
  const char *summary; /* one line for `halloc --help` */
  const char *help;    /* whole text, ends with a newline */
  int (*run)(char **words);
};

extern const struct ha_verb ha_verb_heap;
extern const struct ha_verb ha_verb_run;

#endif
