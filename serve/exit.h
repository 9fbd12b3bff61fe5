/* SPDX-License-Identifier: MIT */
/*
 * The heap profile of HALLOC_MEMPROFILE: how it is written at exit is how it is written earlier as well.
 */
#ifndef HA_SERVE_EXIT_H
#define HA_SERVE_EXIT_H

/*
 * Writes the heap profile to the configured path with a suffix behind it ("" at exit), whole or not at all; a
 * failure is one line. Does nothing if no path is configured, and in a forked child unless the path holds %p.
 * From inside malloc only if the encoders are loaded. Not with a lock held.
 */
void ha_exit_write_profile(const char *suffix);

#endif
