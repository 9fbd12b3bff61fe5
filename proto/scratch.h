/* SPDX-License-Identifier: MIT */
/*
 * A scratch heap: the memory of one encoding, given back all at once.
 *
 * The encoders run inside a process whose malloc is the thing they describe, so they must not call it. A
 * scratch heap is a mimalloc heap of its own: blocks of any size, none of them freed singly, all of them
 * returned to the kernel by ha_scratch_destroy(). A heap belongs to the thread that made it: only that thread
 * may allocate from it, grow its blocks and destroy it.
 *
 * Every function that allocates answers NULL when memory or the limit is used up, and the heap stays usable.
 */
#ifndef HA_PROTO_SCRATCH_H
#define HA_PROTO_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

struct ha_scratch;

struct ha_scratch *ha_scratch_new(void);
void ha_scratch_destroy(struct ha_scratch *scratch);

/* At most this many bytes may be asked for from now on; a new heap has no limit. */
void ha_scratch_set_limit(struct ha_scratch *scratch, size_t size);

/* Aligned for any object. Not zeroed. */
void *ha_scratch_alloc(struct ha_scratch *scratch, size_t size);
/* An array, zeroed. */
void *ha_scratch_zalloc(struct ha_scratch *scratch, size_t count, size_t item_size);
/* Moves a block (NULL: none yet) to a larger one; what is added is not zeroed. On failure the old block
 * stays. */
void *ha_scratch_grow(struct ha_scratch *scratch, void *block, size_t old_size, size_t new_size);
/* Room for one more item in an array of count items; may move the array and then updates *capacity. */
void *ha_scratch_room(struct ha_scratch *scratch, void *items, uint32_t count, uint32_t *capacity,
                      size_t item_size);
/* A NUL-terminated copy. */
char *ha_scratch_copy_text(struct ha_scratch *scratch, const char *text, size_t size);

#endif
