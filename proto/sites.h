/* SPDX-License-Identifier: MIT */
/*
 * The largest live allocation sites of a heap profile as a list for one line of text:
 *
 *   parse_document 100.0 MiB, libc.so.6+0x9d2f1 50.2 MiB (2 of 2)
 *
 * A site is the innermost function of a stack, its bytes are the estimated inuse_space of all rows with that
 * function; at most ten are listed, the largest first. An address that no symbol table names is a site of its
 * own: its file and the offset in there, or the bare address. The text is printable and short enough for a
 * line of HA_LOG_MAX with half a sentence before it, hence long names are cut. Nothing live: the empty text.
 *
 * The rows are visited once. Costs some 150 bytes per distinct innermost address, and the time of naming.
 */
#ifndef HA_PROTO_SITES_H
#define HA_PROTO_SITES_H

#include "proto/blob.h"
#include "sampler/rows.h"

#define HA_SITES_MAX 10
/* Longest text: the sites with two separators, a name and a number each, and the count at the end. */
#define HA_SITE_NAME_MAX 64
#define HA_SITE_SIZE_MAX (sizeof "8796093022208.0 MiB")
#define HA_SITES_TEXT_MAX                                                                                    \
  (HA_SITES_MAX * (3 + HA_SITE_NAME_MAX + HA_SITE_SIZE_MAX) + sizeof " (10 of 4294967295)")

/* Bytes as "%lu.%lu MiB" needs them: tenths, rounded. */
static inline uint64_t ha_mib_tenths(uint64_t bytes) {
  const uint64_t mib = (uint64_t)1024 * 1024;
  return bytes / mib * 10 + (bytes % mib * 10 + mib / 2) / mib;
}

/* 0 and the text, which has no NUL and lives as long as the scratch heap; -ENOMEM, or -ENOTSUP if it is not a
 * heap profile. */
int ha_sites_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob);

#endif
