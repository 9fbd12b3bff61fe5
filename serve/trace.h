/* SPDX-License-Identifier: MIT */
/*
 * Traces from start to file, for trace?seconds=N of the admin port: JSON that Perfetto shows. One at a time.
 */
#ifndef HA_SERVE_TRACE_H
#define HA_SERVE_TRACE_H

#include <stdint.h>

#include "base/compiler.h"
#include "serve/profiles.h"

/* Begins one. 0; -EBUSY if one is being taken; -ENOMEM; -ELIBACC. */
int ha_trace_begin(void);

/* Ends the one that the caller began. 0 and the file, which is to be discarded; or -errno as
 * ha_profile_encode. */
int ha_trace_stop_encode(struct ha_profile_file *ret_file);

/* Ends it and forgets it. */
void ha_trace_abandon(void);

/*
 * A trace of that length. 0 and the file, which is to be discarded; -EBUSY if one is being taken; -ENOMEM;
 * -ELIBACC. goes_on, which may be NULL, is asked ten times a second; once it says no, the trace is forgotten
 * and the answer is -ECANCELED.
 */
int ha_trace_collect(uint64_t nanos, bool (*goes_on)(void *arg), void *arg, struct ha_profile_file *ret_file);

#endif
