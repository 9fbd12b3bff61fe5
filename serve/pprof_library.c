/* SPDX-License-Identifier: MIT */
/*
 * Found once, kept for good. Two threads that come first at a time find the same.
 */
#include "serve/pprof_library.h"

#include "base/atomic.h"
#include "base/log.h"
#include "base/plugin.h"

/* Present when the encoders are linked into the same object. */
extern const struct ha_encoders ha_encoders __attribute__((weak));

static const struct ha_encoders *loaded; /* atomic */
static int has_complained;               /* atomic */

const struct ha_encoders *ha_pprof_library_if_loaded(void) {
  return &ha_encoders != NULL ? &ha_encoders : ha_load_acquire(&loaded);
}

const struct ha_encoders *ha_pprof_library(void) {
  const struct ha_encoders *encoders = ha_pprof_library_if_loaded();
  if (encoders != NULL) {
    return encoders;
  }
  const char *reason = "it is of another version";
  encoders = ha_plugin_symbol(HA_PPROF_LIBRARY_NAME, "ha_encoders", &reason);
  if (encoders != NULL && encoders->version == HA_ENCODERS_VERSION) {
    ha_store_release(&loaded, encoders);
    return encoders;
  }
  if (ha_exchange_acq_rel(&has_complained, 1) == 0) {
    ha_log(HA_PPROF_LIBRARY_NAME " cannot be used, so no profile can be written: %s", reason);
  }
  return NULL;
}
