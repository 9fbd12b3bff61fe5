/* SPDX-License-Identifier: MIT */
/*
 * One line for each.
 */
#include "serve/spans.h"

#include <string.h>

#include "base/compiler.h"
#include "serve/cpu_profile.h"
#include "serve/trace.h"

static const struct ha_span spans[] = {
    {"profile", 30, ha_cpu_profile_start, ha_cpu_profile_stop_encode, ha_cpu_profile_abandon,
     "Could not enable CPU profiling", "cpu profiling already in use"},
    {"trace", 1, ha_trace_begin, ha_trace_stop_encode, ha_trace_abandon, "Could not enable tracing",
     "tracing is already enabled"},
    {NULL, 0, NULL, NULL, NULL, NULL, NULL}, /* the end */
};

const struct ha_span *ha_span_find(const char *name) {
  const struct ha_span *span;
  for (unsigned i = 0; (span = ha_span_at(i)) != NULL; i++) {
    if (strcmp(span->name, name) == 0) {
      return span;
    }
  }
  return NULL;
}

const struct ha_span *ha_span_at(unsigned index) {
  return index + 1 < HA_ARRAY_LEN(spans) ? &spans[index] : NULL;
}
