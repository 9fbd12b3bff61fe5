/* SPDX-License-Identifier: MIT */
/*
 * The difference of a kind of profile between two moments, as Go's ?seconds= gives it: every value of the second less
 * that of the first, so that what is in use shows its change and may be negative. Rows without change are left out; rows
 * that have gone come with their values negated.
 *
 * The first state is kept in a scratch heap: about 200 bytes per row, and what the kind keeps. A difference belongs to the
 * thread that began it.
 */
#ifndef HA_SERVE_DIFFERENCE_H
#define HA_SERVE_DIFFERENCE_H

#include "serve/kinds.h"
#include "serve/profiles.h"

struct ha_difference;

/* 0 or -errno. */
int ha_difference_begin(const struct ha_kind *kind, struct ha_difference **ret_difference);

/* The encoded difference up to now, to be discarded as any; the difference is gone, also after an error. */
int ha_difference_finish(struct ha_difference *difference, struct ha_profile_file *ret_file);

void ha_difference_discard(struct ha_difference *difference);

#endif
