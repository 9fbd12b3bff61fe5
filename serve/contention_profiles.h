/* SPDX-License-Identifier: MIT */
/*
 * The profiles mutex and block, and delta_mutex and delta_block, which hold what came since the last of them was
 * written: who made others wait for a lock, and who waited. What is watched is set by
 * hp_set_mutex_profile_fraction and hp_set_block_profile_rate, and at the start by the environment.
 */
#ifndef HA_SERVE_CONTENTION_PROFILES_H
#define HA_SERVE_CONTENTION_PROFILES_H

#include "serve/kinds.h"

/* Of all four names. Empty as long as nothing was watched. */
ha_kind_open_fn ha_open_contention;

#endif
