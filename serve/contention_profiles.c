/* SPDX-License-Identifier: MIT */
/*
 * The public functions, and what the environment asks for.
 */
#include "serve/contention_profiles.h"

#include <string.h>
#include <unistd.h>

#include "alloc/thread.h"
#include "base/atomic.h"
#include "base/config.h"
#include "base/log.h"
#include "halloc.h"
#include "sampler/contention.h"

int ha_open_contention(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  enum ha_wait wait = strstr(name, "mutex") != NULL ? HA_WAIT_CAUSED : HA_WAIT_SUFFERED;
  bool is_missing;
  bool is_delta = strncmp(name, "delta_", strlen("delta_")) == 0;
  (is_delta ? ha_contention_delta : ha_contention_profile)(wait, profile);
  ha_kind_comment(profile, memory, "halloc: version=" HA_VERSION " pid=%d %s=%ld", (int)getpid(),
                  wait == HA_WAIT_CAUSED ? "fraction" : "rate",
                  (long)ha_contention_watch(wait, -1, &is_missing));
  ha_kind_comment(profile, memory, "halloc: lost overflow=%ld", (long)ha_contention_overflow(wait));
  return 0;
}

/* what: how the value was given. */
static int64_t watch(enum ha_wait wait, int64_t value, const char *what) {
  static int has_complained; /* atomic */
  bool is_missing;
  int64_t before = ha_contention_watch(wait, value, &is_missing);
  if (is_missing && ha_exchange_acq_rel(&has_complained, 1) == 0) {
    ha_log("%s%ld: expected libhalloc-locks.so of this version to be loaded (LD_PRELOAD, -lhalloc-locks); no "
           "waits are "
           "recorded",
           what, (long)value);
  }
  return before;
}

HA_EXPORT int hp_set_mutex_profile_fraction(int n) {
  return (int)watch(HA_WAIT_CAUSED, n, "hp_set_mutex_profile_fraction: ");
}

HA_EXPORT void hp_set_block_profile_rate(int64_t ns) {
  watch(HA_WAIT_SUFFERED, ns > 0 ? ns : 0, "hp_set_block_profile_rate: ");
}

__attribute__((constructor)) static void watch_from_the_start(void) {
  ha_initialize();
  if (ha_config.mutex_fraction != 0) {
    watch(HA_WAIT_CAUSED, ha_config.mutex_fraction, "HALLOC_MUTEXPROFILEFRACTION=");
  }
  if (ha_config.block_rate != 0) {
    watch(HA_WAIT_SUFFERED, ha_config.block_rate, "HALLOC_BLOCKPROFILERATE=");
  }
}
