/* SPDX-License-Identifier: MIT */
/*
 * Ranked locks over pthread mutexes (which on glibc neither allocate nor need initialising).
 */
#include "base/lock.h"

#include <pthread.h>

#include "base/atomic.h"
#include "base/log.h"
#include "base/os.h"

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

static uint32_t
    *fork_witness;           /* nonzero content in the process that mapped it or handled its fork; set once */
static uint32_t process = 1; /* atomic */

void ha_locks_notice_forks(void) {
  uint32_t *page = ha_os_map(HA_OS_PAGE);
  if (page == NULL || !ha_os_wipe_on_fork(page, HA_OS_PAGE)) {
    return; /* not told: such a child may hang, as without us */
  }
  *page = 1;
  ha_store_release(&fork_witness, page);
}

static void make_new(void) {
  for (int rank = 0; rank < HA_RANK_COUNT; rank++) {
    pthread_mutex_init(&locks[rank].mutex, NULL);
  }
  ha_owner_add(&process, 1);
  if (fork_witness != NULL) {
    *fork_witness = 1;
  }
}

/* In a child made without handlers, which has one thread. */
static void notice_fork(void) {
  const uint32_t *witness = ha_load_acquire(&fork_witness);
  if (witness != NULL && *witness == 0) {
    make_new();
  }
}

uint32_t ha_locks_process(void) {
  return ha_load_relaxed(&process);
}

uint32_t ha_locks_process_now(void) {
  notice_fork();
  return ha_locks_process();
}

static HA_COLD void lock_busy(enum ha_rank rank) {
  notice_fork();
  pthread_mutex_lock(&locks[rank].mutex);
}

void ha_lock(enum ha_rank rank) {
  note_acquire(rank);
  if (pthread_mutex_trylock(&locks[rank].mutex) != 0) {
    lock_busy(rank);
  }
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
  make_new();
  for (int rank = HA_RANK_COUNT - 1; rank >= 0; rank--) {
    note_release((enum ha_rank)rank);
  }
}
