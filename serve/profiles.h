/* SPDX-License-Identifier: MIT */
/*
 * Profiles by name: what joins the sampler's rows, the allocator's exact totals and an encoder.
 */
#ifndef HA_SERVE_PROFILES_H
#define HA_SERVE_PROFILES_H

/* hp_write_profile; kept apart so that the library's own callers do not go through the exported name. */
int ha_profile_write(const char *name, int fd, int debug);

#endif
