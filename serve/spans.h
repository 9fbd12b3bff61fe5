/* SPDX-License-Identifier: MIT */
/*
 * Profiles of a span of time: those that must be switched on and off again, unlike the kinds, which show at any moment
 * what there is.
 */
#ifndef HA_SERVE_SPANS_H
#define HA_SERVE_SPANS_H

#include "serve/profiles.h"

struct ha_span {
  const char *name;
  unsigned seconds; /* if nobody says how long */
  /* Switches it on. 0 or -errno: -EBUSY if somebody else has. */
  int (*begin)(void);
  /* Switches it off. 0 and what came meanwhile, or -errno. */
  int (*end)(struct ha_profile_file *ret_file);
  /* Switches it off and forgets it. */
  void (*cancel)(void);
  const char *refusal; /* what is said, before a colon and the reason, if it cannot begin */
  const char *busy;    /* the reason for -EBUSY */
};

/* NULL: there is none of that name. */
const struct ha_span *ha_span_find(const char *name);

/* In the order of the names; NULL beyond the last. */
const struct ha_span *ha_span_at(unsigned index);

#endif
