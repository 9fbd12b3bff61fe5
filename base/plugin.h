/* SPDX-License-Identifier: MIT */
/*
 * Loading halloc's other libraries: what only some processes need is kept out of the rest.
 *
 * They are looked for beside libhalloc.so, then where ld.so looks. Never called from inside malloc.
 */
#ifndef HA_BASE_PLUGIN_H
#define HA_BASE_PLUGIN_H

/* Remembers where libhalloc.so is, in case it was named relative to a directory that the program leaves.
 * Once, at start-up. */
void ha_plugin_prepare(void);

/* The address of a symbol in a library of ours, or NULL with *ret_reason set to a text. */
void *ha_plugin_symbol(const char *library, const char *symbol, const char **ret_reason);

/* Around a fork, in the thread that forks: waits until nothing is being loaded, and keeps it so. */
void ha_plugin_before_fork(void);
void ha_plugin_after_fork_in_parent(void);
void ha_plugin_after_fork_in_child(void);

#endif
