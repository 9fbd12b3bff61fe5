/* SPDX-License-Identifier: MIT */
/*
 * The check of a decoded profile: pprof's rules of validity, and the translation of ids to places in tables.
 */
#ifndef HA_TOOLS_PROFILE_CHECK_H
#define HA_TOOLS_PROFILE_CHECK_H

#include "proto/profile.pb-c.h"

/*
 * NULL, or what is wrong, as a phrase for a complaint. On success location_id, function_id and mapping_id
 * have been replaced by the place of the entry in its table, HA_PPROF_NONE where the profile says 0, and
 * missing period and sample types do not occur.
 */
const char *ha_profile_check(Perftools__Profiles__Profile *message);

#endif
