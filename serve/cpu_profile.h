/* SPDX-License-Identifier: MIT */
/*
 * CPU profiles from start to file: hp_start_cpu_profile and hp_stop_cpu_profile, and what the admin port
 * needs for profile?seconds=N. One at a time in a process, whoever wants it.
 */
#ifndef HA_SERVE_CPU_PROFILE_H
#define HA_SERVE_CPU_PROFILE_H

#include <stdint.h>

#include "base/compiler.h"
#include "serve/profiles.h"

/* Begins one. 0; -EBUSY if one is running, or if the program handles SIGPROF itself (then a line says so);
 * -ENOMEM. */
int ha_cpu_profile_start(void);

/* Ends the one that the caller began. 0 and the file, which is to be discarded; or -errno as
 * ha_profile_encode. */
int ha_cpu_profile_stop_encode(struct ha_profile_file *ret_file);

/* Ends the one that the caller began and forgets it. */
void ha_cpu_profile_abandon(void);

/*
 * Both ends, and the time between. goes_on, which may be NULL, is asked ten times a second; once it says no,
 * the profile is abandoned and the answer is -ECANCELED. Threads that begin meanwhile in other ways than
 * pthread_create are found.
 */
int ha_cpu_profile_collect(uint64_t nanos, bool (*goes_on)(void *arg), void *arg,
                           struct ha_profile_file *ret_file);

#endif
