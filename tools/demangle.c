/* SPDX-License-Identifier: MIT */
/*
 * Demangling through libstdc++ and simplifying by hand. The simplifier copies the name and leaves out what
 * stands between angle brackets; the operators <, <<, ->, () and the words "(anonymous namespace)" are kept.
 */
#include "tools/demangle.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report.h"

#define OPERATOR "operator"
#define ANONYMOUS "(anonymous namespace)"

typedef char *demangle_fn(const char *name, char *buffer, size_t *length, int *status);

static demangle_fn *find_demangler(void) {
  static demangle_fn *demangler;
  static bool looked;
  if (!looked) {
    looked = true;
    void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_LOCAL);
    void *symbol = library == NULL ? NULL : dlsym(library, "__cxa_demangle");
    /* ISO C has no conversion between object and function pointers; POSIX guarantees that this one works. */
    memcpy(&demangler, &symbol, sizeof demangler);
  }
  return demangler;
}

char *ha_demangle(const char *name) {
  int status = -1;
  if (name[0] != '_' || name[1] != 'Z' || strlen(name) > HA_MANGLED_MAX || find_demangler() == NULL)
    return NULL;
  return find_demangler()(name, NULL, NULL, &status);
}

static bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

static bool starts_with(const char *text, const char *prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_operator_at(const char *name, const char *p) {
  size_t length = strlen(OPERATOR);
  return starts_with(p, OPERATOR) && !is_word_character(p[length]) &&
         (p == name || !is_word_character(p[-1]));
}

/* "operator" and the signs that belong to it; for "operator new" and conversions only the word. */
static size_t operator_length(const char *p) {
  size_t length = strlen(OPERATOR);
  if (starts_with(p + length, "()"))
    return length + 2;
  if (starts_with(p + length, "->"))
    return length + (p[length + 2] == '*' ? 3 : 2);
  return length + strspn(p + length, "<>-=!+*/%^&|~,[]");
}

struct simplified {
  char *text;
  size_t length;
  size_t start; /* after the return type */
  bool in_operator;
};

static void append(struct simplified *out, const char *text, size_t length) {
  memcpy(out->text + out->length, text, length);
  out->length += length;
}

/* Takes one piece of the name at p and returns where the next begins, or NULL at the call arguments. */
static const char *simplify_piece(struct simplified *out, const char *name, const char *p) {
  size_t length = 1;
  if (is_operator_at(name, p)) {
    length = operator_length(p);
    out->in_operator = true;
  } else if (starts_with(p, ANONYMOUS)) {
    length = strlen(ANONYMOUS);
  } else if (*p == '(') {
    return NULL;
  } else if (*p == '<' && p != name) {
    size_t depth = 0;
    for (; *p != '\0'; p++) {
      depth += *p == '<' ? 1 : 0;
      if (*p == '>' && p[-1] != '-' && --depth == 0)
        return p + 1;
    }
    return p;
  }
  append(out, p, length);
  if (*p == ' ' && !out->in_operator)
    out->start = out->length;
  return p + length;
}

char *ha_simplify_name(const char *name) {
  struct simplified out = {ha_array(strlen(name) + 1, 1), 0, 0, false};
  const char *clone = strstr(name, " [clone");
  const char *p = name;
  while (p != NULL && p != clone && *p != '\0')
    p = simplify_piece(&out, name, p);
  while (out.length > out.start && out.text[out.length - 1] == ' ')
    out.length--;
  out.text[out.length] = '\0';
  memmove(out.text, out.text + out.start, out.length - out.start + 1);
  return out.text;
}
