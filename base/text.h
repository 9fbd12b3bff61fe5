/* SPDX-License-Identifier: MIT */
/*
 * What may be written into a profile: printable UTF-8, and the names of labels.
 */
#ifndef HA_BASE_TEXT_H
#define HA_BASE_TEXT_H

#include "base/compiler.h"

/* The bytes of the printable UTF-8 sequence that a NUL-terminated text begins with; 0: none, or the end.
 * Control characters, overlong forms and surrogates are not. */
size_t ha_text_printable(const char *text);

/* How many bytes at the beginning are a name [a-zA-Z_][a-zA-Z0-9_]*, 0: it does not begin with one. */
size_t ha_text_name(const char *text);

#endif
