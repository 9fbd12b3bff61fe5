/* SPDX-License-Identifier: MIT */
/*
 * The memory limit that the kernel puts on this process through cgroups.
 *
 * It is the smallest of memory.max and memory.high (version 2) and memory.limit_in_bytes (version 1) over the
 * process's cgroup and those of its ancestors that are visible here; machines with both versions at once are
 * read in both. Two steps: ha_cgroup_find looks up the directories in /proc/self/cgroup and
 * /proc/self/mountinfo, ha_cgroup_limit reads the files in them, since limits change while a process runs.
 *
 * - A mount shows the cgroups from its root downwards. Where the process's cgroup is not below that root (a
 *   container that sees its host's name for the cgroup, or "/../x" in a namespace), the mount itself is taken
 *   for the cgroup. Of several mounts, the one counts that shows most ancestors.
 * - Whatever is missing, unreadable, longer than the buffers or not a number limits nothing. A path that is
 *   too long loses its innermost levels; the outer ones still count.
 * - A process without a free file descriptor cannot look. That is told apart, so that nobody takes it for a
 *   limit that has gone.
 * - Limits of cgroups that no mount shows cannot be seen: of ancestors outside a container, and of the
 *   process's own after a bare unshare(CLONE_NEWCGROUP), until it mounts anew.
 * - In version 1 every ancestor counts, as in the kernel since 5.11, and before under memory.use_hierarchy,
 *   which systemd sets.
 * - A process that is moved to another cgroup keeps the answers of the old one until ha_cgroup_find is called
 *   again.
 *
 * Owner: whoever declares the struct; it is written by ha_cgroup_find only, and then read by any number of
 * threads. All functions are async-signal-safe, keep errno, allocate nothing from a heap, are no cancellation
 * points, and leave no file descriptor open; those in use are O_CLOEXEC.
 */
#ifndef HA_BASE_CGROUP_H
#define HA_BASE_CGROUP_H

#include <limits.h>

#include "base/compiler.h"

/* The process's cgroup in one hierarchy. */
struct ha_cgroup_place {
  bool is_found;
  unsigned depth;      /* levels of the cgroup below the mount point */
  char path[PATH_MAX]; /* two strings: the mount point, then the cgroup below it without a slash in front */
};

/* Meant to be static: of 8 KiB only the start of each place is touched. */
struct ha_cgroup {
  struct ha_cgroup_place v1, v2;
};

/*
 * Looks for the cgroups of the process; finding none is an answer too. False if there were no file
 * descriptors or no memory to look with: cgroup is as it was then, and a later call may do better. root is
 * put in front of every absolute path: "" but in tests. Call it once, or again after a move, not during
 * ha_cgroup_limit. Costs 50 us with 20 mounts: most of it is the kernel's, for writing mountinfo.
 */
bool ha_cgroup_find(struct ha_cgroup *cgroup, const char *root);

/* As a limit: no file descriptor was free to read it, so that the last answer holds. Above every limit. */
#define HA_CGROUP_UNKNOWN (UINT64_MAX - 1)

/* The limit now, in bytes; 0 is a limit like any other. UINT64_MAX: none. Costs 7 us per level: 5
 * system calls in version 1, 8 in version 2. */
uint64_t ha_cgroup_limit(const struct ha_cgroup *cgroup);

/* The machine's memory, in bytes; UINT64_MAX should the kernel not tell. One system call. */
uint64_t ha_ram_bytes(void);

#endif
