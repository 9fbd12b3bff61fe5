/* SPDX-License-Identifier: MIT */
/*
 * The only use of mimalloc in the allocator. Its options are set here so that a user's MIMALLOC_* variables
 * do not change halloc. An arena is a multiple of 32 MiB and there are at most 64 for the life of a process
 * (mimalloc 2.0.9, arena.c), hence sizes that grow, and the fallback.
 */
#include "alloc/backing.h"

#include <errno.h>
#include <mimalloc.h>
#include <pthread.h>

#include "alloc/page.h"
#include "base/os.h"

#define BACKING_UNIT ((size_t)32 * 1024 * 1024)

static bool is_configured; /* HA_RANK_ARENA */

static void configure(void) {
  /* The first arena is wanted before mimalloc's own constructor has run, and choosing an address for it uses
   * the main thread's random state. Later arenas, from any thread, continue from that address. */
  mi_process_init();
  mi_option_disable(mi_option_show_errors);
  mi_option_disable(mi_option_show_stats);
  mi_option_disable(mi_option_verbose);
  mi_option_set(mi_option_reserve_os_memory, 0);
  mi_option_set(mi_option_reserve_huge_os_pages, 0);
  is_configured = true;
}

/* Rounded up to mimalloc's unit: asking for less is refused. */
static char *reserve_arena(size_t wish, size_t *size) {
  mi_arena_id_t id;
  const bool commit = true;
  const bool allow_large = false;
  const bool exclusive = true;
  if (mi_reserve_os_memory_ex(ha_align_up(wish, BACKING_UNIT), commit, allow_large, exclusive, &id) != 0) {
    return NULL;
  }
  return mi_arena_area(id, size);
}

char *ha_backing_reserve(size_t wish, size_t least, size_t *size) {
  int saved = errno;
  int cancel_state;
  /* mimalloc reads files on the way, and the caller holds a lock. */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  if (!is_configured) {
    configure();
  }
  char *start = NULL;
  for (size_t attempt = wish; start == NULL && attempt >= least && attempt >= BACKING_UNIT; attempt /= 2) {
    start = reserve_arena(attempt, size);
  }
  for (size_t attempt = wish; start == NULL && attempt >= least; attempt /= 2) {
    *size = ha_align_down(attempt, HA_SLICE);
    start = ha_os_map_aligned(*size, HA_SLICE);
  }
  if (start == NULL) {
    *size = least;
    start = ha_os_map_aligned(least, HA_SLICE);
  }
  pthread_setcancelstate(cancel_state, NULL);
  errno = saved;
  return start;
}
