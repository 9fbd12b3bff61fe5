/* SPDX-License-Identifier: MIT */
/*
 * The profiles of threads: what they are doing (threads, which Go's tools know as goroutine) and where they
 * were created (threadcreate). Both count threads, by stack and label set.
 */
#ifndef HA_SERVE_THREAD_PROFILES_H
#define HA_SERVE_THREAD_PROFILES_H

#include "serve/kinds.h"

/* Up to a second is spent waiting for threads that do not answer. */
void *ha_gather_threads(void);
void ha_release_threads(void *gathered);

/* Both names give the same, as goroutines. */
ha_kind_open_fn ha_open_threads;
/* Every thread by itself, with id, name, state, labels and creator. */
ha_kind_open_fn ha_open_thread_dump;

/* Live threads by the stack that called pthread_create. */
ha_kind_open_fn ha_open_thread_creators;

#endif
