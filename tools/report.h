/* SPDX-License-Identifier: MIT */
/*
 * What the command says: complaints, escaped text and exit codes.
 *
 * A complaint is one line on standard error, `halloc: <what>: <value>: expected <form>; <what happens now>`.
 * Text that came from a file or from the command line may hold anything, so control characters never reach
 * the terminal as they are: ha_put_text and ha_complain print them as '?', ha_put_json as escapes. JSON
 * strings are always valid UTF-8; a byte that is not becomes U+FFFD.
 *
 * The command is an ordinary short-lived program: running out of memory ends it with a complaint, so callers
 * of ha_array and ha_array_grow need no failure path.
 */
#ifndef HA_TOOLS_REPORT_H
#define HA_TOOLS_REPORT_H

#include <stdio.h>

#include "base/compiler.h"

enum ha_exit_code {
  HA_EXIT_DONE = 0,
  HA_EXIT_FAILED = 1, /* a check failed: leaks found, a gate exceeded */
  HA_EXIT_USAGE = 2,  /* usage or input error */
};

/* Prints one line and returns HA_EXIT_USAGE, so that a verb can end with `return ha_complain(...)`. */
int ha_complain(const char *format, ...) HA_PRINTF(1, 2);

void ha_put_text(FILE *out, const char *text);
/* With the quotes. */
void ha_put_json(FILE *out, const char *text);

/* Zeroed memory for count elements; never NULL. */
void *ha_array(size_t count, size_t element_size);
/* Room for at least `needed` elements; *capacity grows by doubling. The new part is not zeroed. */
void *ha_array_grow(void *array, size_t *capacity, size_t needed, size_t element_size);

#endif
