/* SPDX-License-Identifier: MIT */
/*
 * A trace as JSON of the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing show:
 *
 *   {"displayTimeUnit":"ns","otherData":{...},"traceEvents":[
 *   {"name":"alloc","ph":"i","s":"t","ts":12.345,"pid":1,"tid":2,"args":{"bytes":64,"stack":"f;main"}},
 *   {"name":"wait","ph":"X","ts":20.000,"dur":5.000,...}
 *   ]}
 *
 * Times are microseconds since the start of the trace. A stack has the innermost function first. Never calls malloc.
 * Costs the text, some 200 bytes per event and 20 per frame.
 */
#ifndef HA_PROTO_TRACE_H
#define HA_PROTO_TRACE_H

#include "proto/blob.h"
#include "sampler/rows.h"

/* 0 and the text, which lives as long as the scratch heap; or -ENOMEM. The rows are those of
 * sampler/trace.h. */
int ha_trace_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob);

#endif
