/* SPDX-License-Identifier: MIT */
/*
 * A profile as pprof's protobuf, gzip'ed: what `go tool pprof` and the continuous profilers read.
 *
 * The rows are visited once; the plain form never exists in memory as a whole. Never calls malloc: everything
 * is in the scratch heap, and so is the result. Costs some 150 bytes per distinct address, the compressed
 * bytes, and the time of naming the addresses.
 */
#ifndef HA_PROTO_BUILDER_H
#define HA_PROTO_BUILDER_H

#include "proto/blob.h"
#include "sampler/rows.h"

/* 0 and the file, which lives as long as the scratch heap; or -errno, -ENOMEM when scratch memory runs out.
 */
int ha_proto_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob);

#endif
