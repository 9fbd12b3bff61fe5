/* SPDX-License-Identifier: MIT */
/*
 * A profile as text: the forms of debug=1 and 2, which people read and which `go tool pprof` and google-pprof
 * parse.
 *
 *   heap profile: <live blocks>: <bytes> [<all blocks>: <bytes>] @ heap_v2/<sample interval>
 *   <live blocks>: <bytes> [<all blocks>: <bytes>] @ <return address> ...      most live bytes first
 *   #  <address>  <function>+<offset>  <file>                                  a comment line per frame
 *
 *   (the statistics of profile->text_trailer, as comment lines)
 *
 *   MAPPED_LIBRARIES:
 *   (the content of /proc/self/maps)
 *
 * The numbers are what was sampled: the readers of this form scale them up themselves.
 *
 * Other profiles have the form of Go's profiles of one count, with the value that tools show first, as it is:
 *
 *   <name> profile: total <sum>
 *   <value> @ <return address> ...                                             largest first
 *   #  ...                                                                     as above
 *
 *   --- Memory map: ---                                                        where pprof ends such a profile
 *   (the content of /proc/self/maps)
 *
 * One of contentions has estimates of nanoseconds and counts:
 *
 *   --- mutex:
 *   cycles/second=1000000000
 *   sampling period=1
 *   <nanoseconds> <contentions> @ <return address> ...
 *
 * A dump, one paragraph per row, is for people only:
 *
 *   <title>:
 *   <function>(...)
 *   \t<file> +<offset>
 *
 * Never calls malloc.
 * Costs 80 bytes per row and the text, which is about 20 bytes per frame and, up to COMMENTS_MAX in text.c,
 * another 70 for its comment.
 */
#ifndef HA_PROTO_TEXT_H
#define HA_PROTO_TEXT_H

#include "proto/blob.h"
#include "sampler/rows.h"

/*
 * 0 and the text, which lives as long as the scratch heap; -ENOMEM when scratch memory runs out; -ENOTSUP for
 * a profile of samples (has_sampled) that has not the four values of a heap profile. Each line of the trailer
 * begins with '#' or is empty.
 */
int ha_text_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob);

#endif
