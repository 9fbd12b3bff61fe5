/* SPDX-License-Identifier: MIT */
/*
 * halloc: a malloc with an always-on heap profiler. C99 and C++11.
 *
 * Nothing here needs initialising. Functions that return int give 0 or a negative errno value; nothing
 * aborts. Names and meanings follow Go's runtime, runtime/debug and runtime/pprof packages where Go has the
 * thing.
 */
#ifndef HALLOC_H
#define HALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HP_VERSION "0.1.0"

/* ---- Statistics ---- */

/* Number of size classes of small and medium blocks. */
#define HP_SIZE_CLASSES 88

/*
 * Memory statistics with the field names and identities of Go's runtime.MemStats. Sizes in bytes.
 *
 *   Alloc = HeapAlloc = TotalAlloc - what was freed      HeapObjects = Mallocs - Frees
 *   HeapSys = HeapInuse + HeapIdle                       HeapReleased <= HeapIdle, HeapAlloc <= HeapInuse
 *   Sys = HeapSys + MSpanSys + MCacheSys + BuckHashSys + OtherSys
 *
 * Block sizes count as they are handed out: a request is rounded up to its size class, or to 4 KiB above 128
 * KiB.
 */
struct hp_memstats {
  uint64_t Alloc;        /* as HeapAlloc */
  uint64_t TotalAlloc;   /* bytes of all blocks ever allocated */
  uint64_t Sys;          /* address space for blocks, and what halloc uses for itself */
  uint64_t Mallocs;      /* blocks ever allocated */
  uint64_t Frees;        /* blocks ever freed */
  uint64_t HeapAlloc;    /* bytes of blocks in use */
  uint64_t HeapSys;      /* address space for blocks */
  uint64_t HeapIdle;     /* of that: spans that hold no block */
  uint64_t HeapInuse;    /* of that: spans that hold at least one block, or may at any moment */
  uint64_t HeapReleased; /* of HeapIdle: not backed by memory (in this version: never used yet) */
  uint64_t HeapObjects;  /* blocks in use */
  uint64_t MSpanSys;     /* halloc's descriptors of spans, and the map from addresses to them */
  uint64_t MCacheSys;    /* halloc's per-thread heaps */
  uint64_t BuckHashSys;  /* the profiler's tables: stacks, counters, records of live samples */
  uint64_t OtherSys;     /* mapped for halloc's own use, not handed out yet */
  uint64_t Threads;      /* threads that have allocated and not ended */
  struct {
    uint32_t Size;    /* bytes of a block of the class */
    uint64_t Mallocs; /* ever, of this class */
    uint64_t Frees;
  } BySize[HP_SIZE_CLASSES];
};

/*
 * Reads the statistics. `size` is sizeof *out as the caller was compiled, so that fields can be added later.
 *
 * Exact whenever no thread is inside malloc or free; otherwise each number is off by at most what is in
 * flight. Returns 0, or -EINVAL if out is NULL or size is 0. Thread-safe, async-signal-safe, stops and waits
 * for no one, does not allocate. Cost: one pass over the page descriptors, about 40 microseconds per GiB in
 * use.
 */
int hp_memstats_read(struct hp_memstats *out, size_t size);

/* The statistics as a value. As hp_memstats_read. */
static inline struct hp_memstats hp_memstats(void) {
  struct hp_memstats stats;
  hp_memstats_read(&stats, sizeof stats);
  return stats;
}

/* ---- Profiles ---- */

/*
 * Sets the mean number of bytes between samples: 1 samples every allocation, 0 none. Returns the previous
 * rate; a negative argument only reads. May be called at any time: samples keep the weight they were taken
 * with, so the protobuf form is right for any history of rates (readers of the text form scale with the
 * current one). The calling thread follows at once, other threads when the free blocks they have at hand are
 * used up (at most one page's). Thread-safe.
 */
int64_t hp_set_mem_profile_rate(int64_t bytes);

/*
 * Writes a profile to a file descriptor.
 *
 * name: "heap" (tools show bytes in use first) or "allocs" (bytes allocated first); both carry alloc_objects,
 * alloc_space, inuse_objects and inuse_space. debug 0: gzip-compressed pprof protobuf; 1 and 2: text.
 * Returns 0; -ENOENT for an unknown name or NULL; -EINVAL for another debug; -ENOMEM; -ELIBACC
 * if libhalloc-pprof.so cannot be loaded (one line on standard error tells why); or the error of
 * write(2). Thread-safe; one profile is encoded at a time; other threads go on allocating. Not for signal
 * handlers. Cost: milliseconds for some hundred stacks, and memory for the encoded profile that is given back
 * afterwards.
 */
int hp_write_profile(const char *name, int fd, int debug);

/* hp_write_profile("heap", fd, 0): Go's pprof.WriteHeapProfile. */
int hp_write_heap_profile(int fd);

#ifdef __cplusplus
}
#endif

#endif
