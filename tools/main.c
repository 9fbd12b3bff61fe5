/* SPDX-License-Identifier: MIT */
/*
 * The halloc command: finds the verb, runs it, and makes sure that what it printed really went out.
 *
 * Exit status: 0 done, 1 a check failed, 2 usage or input error (one line on standard error says what to
 * change). `halloc run` is replaced by the program it starts, so there the status is the program's own.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/report.h"
#include "tools/verbs.h"

#ifndef HA_VERSION
#error "HA_VERSION must be given by the build"
#endif

static const struct ha_verb *const verbs[] = {&ha_verb_run, &ha_verb_heap};

static const struct ha_verb *find_verb(const char *name) {
  for (size_t i = 0; i < HA_ARRAY_LEN(verbs); i++) {
    if (strcmp(verbs[i]->name, name) == 0)
      return verbs[i];
  }
  return NULL;
}

static int complain_verb(const char *name) {
  char names[128] = "";
  size_t used = 0;
  for (size_t i = 0; i < HA_ARRAY_LEN(verbs) && used < sizeof names; i++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ", verbs[i]->name);
  return ha_complain("verb: %s: expected one of %s; see 'halloc --help'", name, names);
}

static int print_help(void) {
  puts("usage: halloc VERB [options] [arguments]\n\nVerbs:");
  for (size_t i = 0; i < HA_ARRAY_LEN(verbs); i++)
    printf("  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
  puts("\n'halloc help VERB' tells more about a verb, 'halloc --version' the version.");
  return HA_EXIT_DONE;
}

static int print_verb_help(const struct ha_verb *verb) {
  fputs(verb->help, stdout);
  return HA_EXIT_DONE;
}

static int help_command(char **words) {
  if (words[0] == NULL)
    return print_help();
  const struct ha_verb *verb = find_verb(words[0]);
  return verb == NULL ? complain_verb(words[0]) : print_verb_help(verb);
}

static bool is_word(const char *word, const char *name) {
  return strcmp(word, name) == 0 || (word[0] == '-' && strcmp(word + 1, name) == 0);
}

static int dispatch(char **words) {
  if (words[0] == NULL)
    return complain_verb("none given");
  if (is_word(words[0], "-help") || strcmp(words[0], "-h") == 0 || strcmp(words[0], "help") == 0)
    return help_command(words + 1);
  if (is_word(words[0], "-version")) {
    puts("halloc " HA_VERSION);
    return HA_EXIT_DONE;
  }
  const struct ha_verb *verb = find_verb(words[0]);
  if (verb == NULL)
    return complain_verb(words[0]);
  int status = verb->run(words + 1);
  return status == HA_HELP_WANTED ? print_verb_help(verb) : status;
}

int main(int argc, char **argv) {
  int status = dispatch(argv + (argc > 0 ? 1 : 0));
  /* A full disk shows only when the buffer is written, and a cut table must not look like a whole one. */
  errno = 0;
  if (fflush(stdout) != 0 || ferror(stdout))
    return ha_complain("standard output: expected room to write: %s; the output is not complete",
                       strerror(errno));
  return status;
}
