/* SPDX-License-Identifier: MIT */
/*
 * The name of the calling thread as a label, for programs that are asked for it (HALLOC_LABEL_THREAD).
 *
 * The name is asked of the kernel each time, since a thread may be renamed at any time, also by others.
 */
#ifndef HA_LABELS_THREAD_NAME_H
#define HA_LABELS_THREAD_NAME_H

#include "labels/set.h"

#define HA_LABEL_THREAD "thread"

/* The set with the label of the calling thread's name beneath: a label of that key in the set hides it. A system call
 * and 6 KiB of stack; keeps errno. Callable in malloc. */
uint32_t ha_labels_with_thread(uint32_t set);

#endif
