/* SPDX-License-Identifier: MIT */
/*
 * The library's locks. There is one lock per rank and the order of the ranks is the lock order: a thread that
 * holds a lock may take only locks of higher rank. Builds with debug_checks verify that on every acquisition.
 *
 * Rules: no lock is held while unwinding, while calling the application, or while waiting for anything but the
 * kernel's memory calls. fork takes all of them in order (ha_locks_before_fork), so a child starts with none held.
 */
#ifndef HA_BASE_LOCK_H
#define HA_BASE_LOCK_H

#include "base/compiler.h"

enum ha_rank {
  HA_RANK_PROFILE,   /* encoding of a profile: one at a time */
  HA_RANK_THREADS,   /* list of threads and their timers */
  HA_RANK_HEAPS,     /* list of per-thread heaps and their reuse */
  HA_RANK_ABANDONED, /* pages whose thread has ended */
  HA_RANK_RELEASE,   /* giving memory back: one thread at a time */
  HA_RANK_ARENA,     /* arenas, spans, page map, large blocks */
  HA_RANK_META,      /* metadata memory */
  HA_RANK_HTTP,      /* the descriptors of the admin port */
  HA_RANK_COUNT
};

/* Cost: one uncontended futex word. Not async-signal-safe. */
void ha_lock(enum ha_rank rank);
void ha_unlock(enum ha_rank rank);

/* Debug builds: aborts unless the calling thread holds the lock. */
#if HA_CHECKS
void ha_lock_assert_held(enum ha_rank rank);
#else
HA_INLINE void ha_lock_assert_held(enum ha_rank rank) {
  (void)rank;
}
#endif

/*
 * A child made without fork handlers (_Fork, a bare clone) may find locks held by threads it does not have.
 * The first lock that is busy there finds that out, by a page the kernel empties in every child, and makes
 * all locks new. What the missing thread was changing stays half changed: such a child is not promised more
 * than not to hang.
 */
void ha_locks_notice_forks(void);

/*
 * For locks that are kept elsewhere: which process of a line of forks this is, never 0. A lock that was taken under
 * another number than this was taken by a thread that this process does not have. Costs a load.
 */
uint32_t ha_locks_process(void);

/* The same for one who has found such a lock busy: also if this is a child made without handlers. */
uint32_t ha_locks_process_now(void);

/* For pthread_atfork: take all locks in rank order; let go of them; make them new in the child. */
void ha_locks_before_fork(void);
void ha_locks_after_fork_in_parent(void);
void ha_locks_after_fork_in_child(void);

#endif
