/* SPDX-License-Identifier: MIT */
/*
 * Ranked locks over pthread mutexes (which on glibc neither allocate nor need initialising).
 */
#include "base/lock.h"

#include <pthread.h>

#include "base/log.h"

/* Each on a line of its own: they are taken by different threads for different reasons. */
static struct {
  pthread_mutex_t mutex;
} HA_CACHE_ALIGNED locks[HA_RANK_COUNT] = {[0 ... HA_RANK_COUNT - 1] = {PTHREAD_MUTEX_INITIALIZER}};

#if HA_CHECKS
static HA_TLS unsigned held; /* bit per rank */

static void note_acquire(enum ha_rank rank) {
  if ((held >> rank) != 0) {
    ha_die("lock order: rank %d wanted while holding mask %x", (int)rank, held);
  }
  held |= 1u << rank;
}

static void note_release(enum ha_rank rank) {
  held &= ~(1u << rank);
}

void ha_lock_assert_held(enum ha_rank rank) {
  if ((held >> rank & 1) == 0) {
    ha_die("lock of rank %d must be held here", (int)rank);
  }
}
#else
HA_INLINE void note_acquire(enum ha_rank rank) {
  (void)rank;
}
HA_INLINE void note_release(enum ha_rank rank) {
  (void)rank;
}
#endif

void ha_lock(enum ha_rank rank) {
  note_acquire(rank);
  pthread_mutex_lock(&locks[rank].mutex);
}

void ha_unlock(enum ha_rank rank) {
  pthread_mutex_unlock(&locks[rank].mutex);
  note_release(rank);
}

void ha_locks_before_fork(void) {
  for (int rank = 0; rank < HA_RANK_COUNT; rank++) {
    ha_lock((enum ha_rank)rank);
  }
}

void ha_locks_after_fork_in_parent(void) {
  for (int rank = HA_RANK_COUNT - 1; rank >= 0; rank--) {
    ha_unlock((enum ha_rank)rank);
  }
}

void ha_locks_after_fork_in_child(void) {
  for (int rank = HA_RANK_COUNT - 1; rank >= 0; rank--) {
    pthread_mutex_init(&locks[rank].mutex, NULL);
    note_release((enum ha_rank)rank);
  }
}
