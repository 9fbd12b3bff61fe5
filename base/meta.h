/* SPDX-License-Identifier: MIT */
/*
 * Memory for the library's own tables: never from the instrumented heap, counted by purpose.
 *
 * Small pieces are cut from chunks; freed pieces are kept in lists by power-of-two size, for any purpose. Every piece
 * is zero when it is handed out. Nothing is returned to the kernel. Cost: one lock and a few
 * instructions; all callers are on slow paths. NULL when the kernel has no more.
 */
#ifndef HA_BASE_META_H
#define HA_BASE_META_H

#include "base/compiler.h"

/* Which of the *Sys statistics a piece counts towards. */
enum ha_meta_kind {
  HA_META_SPANS,   /* page descriptors and the page map: MSpanSys */
  HA_META_HEAPS,   /* per-thread heaps: MCacheSys */
  HA_META_PROFILE, /* stacks, table entries, sample records: BuckHashSys */
  HA_META_KIND_COUNT
};

void *ha_meta_alloc(size_t size, enum ha_meta_kind kind);
void ha_meta_free(void *piece, size_t size, enum ha_meta_kind kind);

/* Bytes handed out for one kind, and mapped in total but not handed out. */
uint64_t ha_meta_bytes(enum ha_meta_kind kind);
uint64_t ha_meta_unused_bytes(void);

/* All that is mapped for metadata, handed out or not. */
uint64_t ha_meta_mapped_bytes(void);

#endif
