/* SPDX-License-Identifier: MIT */
/*
 * Function names for addresses that somebody asks for: what pprof's symbol protocol needs.
 */
#ifndef HA_PROTO_ADDRESSES_H
#define HA_PROTO_ADDRESSES_H

#include "proto/scratch.h"

/* Names count addresses: names[i] is that of the function at addresses[i], printable, in scratch memory; NULL if none is
 * known. 0 or -ENOMEM. Costs as much as naming the frames of a profile. */
int ha_addresses_name(struct ha_scratch *scratch, const uintptr_t *addresses, uint32_t count,
                      const char **names);

#endif
