/* SPDX-License-Identifier: MIT */
/*
 * The line is put together on the stack. The sites come out of the encoder as text and are copied out of the
 * scratch heap, so that no lock is held while the line is written.
 */
#include "serve/limit_report.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "alloc/background.h"
#include "base/lock.h"
#include "base/log.h"
#include "proto/sites.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "serve/exit.h"
#include "serve/pprof_library.h"

#define SUFFIX ".limit"
#define INUSE_OBJECTS 2

/* The library is not to be loaded inside malloc, where other threads report. */
static const struct ha_encoders *find_encoders(void) {
  return ha_background_is_current() ? ha_pprof_library() : ha_pprof_library_if_loaded();
}

/* Copies the list of sites, a text of less than size bytes. 0 or -errno. */
static int list_sites(const struct ha_encoders *encoders, char *out, size_t size) {
  struct ha_profile profile;
  struct ha_blob list = {NULL, 0};
  ha_heap_profile(&profile, "heap", NULL);
  ha_lock(HA_RANK_PROFILE);
  struct ha_scratch *scratch = encoders->scratch_new();
  int error = scratch != NULL ? encoders->sites(&profile, scratch, &list) : -ENOMEM;
  if (error == 0 && list.size >= size) {
    error = -EOVERFLOW;
  }
  if (error == 0) {
    memcpy(out, list.size > 0 ? list.data : "", list.size);
    out[list.size] = '\0';
  }
  if (scratch != NULL) {
    encoders->scratch_destroy(scratch);
  }
  ha_unlock(HA_RANK_PROFILE);
  return error;
}

static void describe_sites(const struct ha_encoders *encoders, char *out, size_t size) {
  char sites[HA_SITES_TEXT_MAX];
  if (ha_rate() == 0 && ha_heap_totals().sampled[INUSE_OBJECTS] == 0) {
    ha_format(out, size, "no sites are known: profiling is off");
    return;
  }
  if (encoders == NULL) {
    ha_format(out, size, "sites unknown: libhalloc-pprof.so.0 is not loaded");
    return;
  }
  int error = list_sites(encoders, sites, sizeof sites);
  if (error != 0) {
    ha_format(out, size, "sites unknown: %s", strerrordesc_np(-error));
  } else if (sites[0] == '\0') {
    ha_format(out, size, "no samples");
  } else {
    ha_format(out, size, "largest live sites: %s", sites);
  }
}

static void write_line(const struct ha_encoders *encoders, uint64_t limit, uint64_t quantity) {
  char sites[HA_LOG_MAX];
  uint64_t tenths = ha_mib_tenths(limit);
  uint64_t over = ha_mib_tenths(quantity > limit ? quantity - limit : 0);
  describe_sites(encoders, sites, sizeof sites);
  ha_log("memory limit %lu.%lu MiB exceeded by %lu.%lu MiB; %s", tenths / 10, tenths % 10, over / 10,
         over % 10, sites);
}

void ha_limit_report(uint64_t limit, uint64_t quantity) {
  int saved = errno;
  int cancel_state;
  /* Reading files is a cancellation point: a thread cancelled there would leave in the middle of malloc. */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  const struct ha_encoders *encoders = find_encoders();
  write_line(encoders, limit, quantity);
  if (encoders != NULL) {
    ha_exit_write_profile(SUFFIX);
  }
  pthread_setcancelstate(cancel_state, NULL);
  errno = saved;
}
