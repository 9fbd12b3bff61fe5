/* SPDX-License-Identifier: MIT */
/*
 * The static probes of the file that halloc's code lies in, as a tracer finds them: SystemTap notes (type 3)
 * in the section .note.stapsdt of the file, moved by where the file is mapped in this process.
 */
#ifndef TESTS_API_NOTES_H
#define TESTS_API_NOTES_H

#include <stddef.h>
#include <stdint.h>

struct probe_note {
  uintptr_t pc;        /* where the breakpoint goes */
  uintptr_t semaphore; /* of 16 bits; 0: none */
  char arguments[64];  /* as in the note: "8@%rdi 8@%rsi" */
};

/* The only note of this name; fails the test if there is none, or more than one. */
struct probe_note note_find(const char *provider, const char *name);

#endif
