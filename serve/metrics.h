/* SPDX-License-Identifier: MIT */
/*
 * /metrics: Prometheus' text form, version 0.0.4.
 *
 * A family is its HELP and TYPE lines and then its samples. Numbers are written as integers or with nine decimals.
 */
#ifndef HA_SERVE_METRICS_H
#define HA_SERVE_METRICS_H

#include "serve/http_body.h"

struct ha_metric {
  const char *name;
  const char *type; /* "gauge" or "counter" */
  const char *help;
};

/* HELP and TYPE. */
void ha_metric_family(struct ha_body *body, const struct ha_metric *metric);
/* A family of one sample: a whole number, or seconds given in nanoseconds. */
void ha_metric_number(struct ha_body *body, const struct ha_metric *metric, uint64_t value);
void ha_metric_seconds(struct ha_body *body, const struct ha_metric *metric, uint64_t nanos);

/* What all processes have, process_*: from the kernel. A number that cannot be read is left out. */
void ha_metrics_of_process(struct ha_body *body);

#endif
