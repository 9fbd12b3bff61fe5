/* SPDX-License-Identifier: MIT */
/*
 * The call stack of the calling thread, as return addresses.
 *
 * May be called while the application, ld.so or stdio hold any of their locks, from inside malloc or free,
 * and on any stack with 4 KiB left (8 with HALLOC_UNWIND=dwarf). It never allocates, waits for a lock, opens
 * a file, or changes errno or the signal mask. halloc's own frames are left out. What could not be walked is
 * cut, and counted.
 */
#ifndef HA_SAMPLER_UNWIND_H
#define HA_SAMPLER_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

/* Fills frames[0..max) innermost first and returns how many; 0 if nothing could be walked. */
uint32_t ha_unwind(uintptr_t *frames, uint32_t max);

/*
 * The same of the code that a signal interrupted: context is the third argument of the handler. The first
 * frame is the interrupted address plus one, since one is taken off when addresses are named. halloc's own
 * frames are not left out: the interrupted thread may be in them. Also where ha_unwind() uses libgcc, this
 * one goes by rules. In signal handlers.
 */
uint32_t ha_unwind_interrupted(const void *context, uintptr_t *frames, uint32_t max);

/* Whether code is halloc's own. */
bool ha_unwind_is_own(uintptr_t address);

/* The same along the thread's trail, for samples: the caller ends the walk along it (ha_trail_end). */
struct ha_trail_walk;
uint32_t ha_unwind_on_trail(uintptr_t *frames, uint32_t max, struct ha_trail_walk *path);

/* Loads what the configured walker needs beyond libc. Once, at start-up, outside of malloc. */
void ha_unwind_prepare(void);

/* Stacks cut at the depth limit so far. */
uint64_t ha_unwind_truncated(void);

#endif
