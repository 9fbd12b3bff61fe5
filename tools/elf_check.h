/* SPDX-License-Identifier: MIT */
/*
 * Whether LD_PRELOAD can reach a program, asked before it is started.
 *
 * A preloaded malloc has no effect on a program that the dynamic linker does not load (static binaries), that
 * runs with raised privileges (setuid, setgid, file capabilities: the linker ignores the variable), that was
 * built for another machine, or that defines malloc itself. Scripts are followed to their interpreter. Only
 * files are read; nothing is run. A file that may be executed but not read is taken to be fine.
 */
#ifndef HA_TOOLS_ELF_CHECK_H
#define HA_TOOLS_ELF_CHECK_H

#include "base/compiler.h"

#define HA_PATH_MAX 4096
#define HA_REASON_MAX (HA_PATH_MAX + 512)

/* What a program is and should have been: "<file>: expected <form>, <what it is>". */
struct ha_program_problem {
  char text[HA_REASON_MAX];
};

/* Finds a program as execvp does. False: *ret_problem says why it cannot be started. */
bool ha_program_find(const char *name, char ret_path[HA_PATH_MAX], struct ha_program_problem *ret_problem);

/* True when a preloaded library takes effect in the program; false: *ret_problem says why not. */
bool ha_program_check(const char *path, struct ha_program_problem *ret_problem);

#endif
