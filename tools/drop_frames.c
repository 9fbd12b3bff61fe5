/* SPDX-License-Identifier: MIT */
/*
 * Translation to POSIX and matching. `(?:` becomes `(`, and the whole is wrapped in ^(…)$. Counted repeats,
 * a repeat of a repeat and deep nesting are refused: regcomp copies what is repeated, so its memory doubles
 * with each level.
 */
#include "tools/drop_frames.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/demangle.h"
#include "tools/report.h"

#define EXPRESSION_MAX 16384
#define NESTING_MAX 8

struct ha_drop_frames {
  regex_t drop, keep;
  bool has_keep;
};

/* Escapes that mean the same in both syntaxes: a backslash before punctuation. */
static bool is_plain_escape(char c) {
  return c != '\0' && strchr(".()[]{}|*+?^$\\/-=!~&%#@,:; _\"", c) != NULL;
}

static bool is_repeat(char c) {
  return c == '*' || c == '+' || c == '?';
}

struct translation {
  const char *from;
  char *to;
  int nesting;
  bool in_class;
};

/* Takes over one element; false: it has no POSIX form that is safe to compile. */
static bool translate_element(struct translation *t) {
  char c = *t->from++;
  *t->to++ = c;
  if (t->in_class) {
    t->in_class = c != ']';
    return c != '\\';
  }
  if (c == '\\') {
    *t->to++ = *t->from;
    return is_plain_escape(*t->from++);
  }
  t->in_class = c == '[';
  if (c == '(' || c == ')')
    t->nesting += c == '(' ? 1 : -1;
  if (c == '(' && strncmp(t->from, "?:", 2) == 0)
    t->from += 2;
  if ((is_repeat(c) || c == '(') && is_repeat(*t->from))
    return false;
  return c != '{' && t->nesting >= 0 && t->nesting <= NESTING_MAX;
}

static bool translate(const char *from, char *to) {
  struct translation t = {from, to, 0, false};
  while (*t.from != '\0') {
    if (!translate_element(&t))
      return false;
  }
  *t.to = '\0';
  return t.nesting == 0 && !t.in_class;
}

static bool compile(const char *expression, const char *what, regex_t *ret_regex) {
  static const char before[] = "^(", after[] = ")$";
  bool works = false;
  if (strlen(expression) <= EXPRESSION_MAX) {
    char *text = ha_array(strlen(expression) + sizeof before + sizeof after, 1);
    strcpy(text, before);
    works = translate(expression, text + strlen(before));
    strcat(text, after);
    works = works && regcomp(ret_regex, text, REG_EXTENDED | REG_NOSUB) == 0;
    free(text);
  }
  if (!works)
    ha_complain("%s: %.200s: expected an expression of alternatives, groups and classes; no frame is dropped",
                what, expression);
  return works;
}

struct ha_drop_frames *ha_drop_frames_new(const char *drop, const char *keep) {
  if (*drop == '\0')
    return NULL;
  struct ha_drop_frames *frames = ha_array(1, sizeof *frames);
  if (!compile(drop, "drop_frames", &frames->drop)) {
    free(frames);
    return NULL;
  }
  frames->has_keep = *keep != '\0';
  if (frames->has_keep && !compile(keep, "keep_frames", &frames->keep)) {
    regfree(&frames->drop);
    free(frames);
    return NULL;
  }
  return frames;
}

void ha_drop_frames_free(struct ha_drop_frames *frames) {
  if (frames == NULL)
    return;
  regfree(&frames->drop);
  if (frames->has_keep)
    regfree(&frames->keep);
  free(frames);
}

static bool is_match(const regex_t *regex, const char *name) {
  return regexec(regex, name, 0, NULL, 0) == 0;
}

bool ha_drop_frames_matches(const struct ha_drop_frames *frames, const char *name) {
  if (frames == NULL || *name == '\0')
    return false;
  char *simple = ha_simplify_name(name);
  bool matches = is_match(&frames->drop, simple) && !(frames->has_keep && is_match(&frames->keep, simple));
  free(simple);
  return matches;
}
