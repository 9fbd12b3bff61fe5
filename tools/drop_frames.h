/* SPDX-License-Identifier: MIT */
/*
 * The expression in a profile that names frames nobody wants to see, such as malloc itself and what it calls.
 *
 * A frame whose simplified name matches as a whole is dropped together with everything it called. The syntax
 * is Go's; expressions are turned into POSIX extended ones, which covers alternatives, groups, classes and
 * repeats without counts. An expression that cannot be translated, or that is built to exhaust the matcher,
 * is left out with one line on standard error, and then no frame is dropped.
 */
#ifndef HA_TOOLS_DROP_FRAMES_H
#define HA_TOOLS_DROP_FRAMES_H

#include "base/compiler.h"

struct ha_drop_frames;

/* keep names exceptions and may be "". NULL: nothing is dropped. */
struct ha_drop_frames *ha_drop_frames_new(const char *drop, const char *keep);
void ha_drop_frames_free(struct ha_drop_frames *frames);

/* name as the profile has it or demangled; it is simplified here. frames may be NULL. */
bool ha_drop_frames_matches(const struct ha_drop_frames *frames, const char *name);

#endif
