/* SPDX-License-Identifier: MIT */
/*
 * The table itself.
 */
#include "proto/encoders.h"

#include "base/compiler.h"
#include "proto/addresses.h"
#include "proto/builder.h"
#include "proto/sites.h"
#include "proto/text.h"

HA_EXPORT const struct ha_encoders ha_encoders = {
    .version = HA_ENCODERS_VERSION,
    .scratch_new = ha_scratch_new,
    .scratch_alloc = ha_scratch_alloc,
    .scratch_destroy = ha_scratch_destroy,
    .proto = ha_proto_encode,
    .text = ha_text_encode,
    .sites = ha_sites_encode,
    .name = ha_addresses_name,
};
