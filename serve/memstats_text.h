/* SPDX-License-Identifier: MIT */
/*
 * The statistics as text: one line of JSON, and the comment block that Go puts behind a heap profile's text form.
 */
#ifndef HA_SERVE_MEMSTATS_TEXT_H
#define HA_SERVE_MEMSTATS_TEXT_H

#include <stddef.h>

#include "halloc.h"

/* Enough for either text without the size classes. */
#define HA_MEMSTATS_TEXT_MAX 2048

/* One JSON object with Go's names, no line end. Returns the length needed, as ha_format. */
size_t ha_memstats_json(const struct hp_memstats *stats, char *out, size_t size);

/* "# runtime.MemStats" and a line per field that has a meaning here. */
size_t ha_memstats_comment(const struct hp_memstats *stats, char *out, size_t size);

#endif
