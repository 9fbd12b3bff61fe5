/* SPDX-License-Identifier: MIT */
/*
 * A gzip stream into scratch memory.
 *
 * Bytes go in piecewise, the whole compressed file comes out at the end, so the plain bytes never exist at
 * once. The first failure sticks and ha_gzip_finish() reports it. Costs about 270 KiB plus the output.
 */
#ifndef HA_PROTO_GZIP_H
#define HA_PROTO_GZIP_H

#include "proto/blob.h"

struct ha_gzip;

/* NULL: out of scratch memory. */
struct ha_gzip *ha_gzip_new(struct ha_scratch *scratch);
void ha_gzip_write(struct ha_gzip *gzip, const void *data, size_t size);
/* 0 and the compressed file, or -errno. The stream is used up. */
int ha_gzip_finish(struct ha_gzip *gzip, struct ha_blob *ret_blob);

#endif
