/* SPDX-License-Identifier: MIT */
/*
 * glibc's ways to ask about the heap, answered from halloc's statistics, and the knobs it has, accepted.
 *
 * arena and fordblks are address space, uordblks what is in use, hblkhd blocks with mappings of their own.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>

#include "alloc/large.h"
#include "alloc/release.h"
#include "alloc/stats.h"
#include "base/compiler.h"
#include "base/log.h"

/* The two are not read at one moment: never below zero. */
static uint64_t difference(uint64_t whole, uint64_t part) {
  return whole > part ? whole - part : 0;
}

HA_EXPORT struct mallinfo2 mallinfo2(void) {
  struct hp_memstats stats;
  uint64_t huge = ha_large_totals().huge_bytes;
  ha_stats_read(&stats);
  return (struct mallinfo2){
      .arena = difference(stats.HeapSys, huge),
      .hblkhd = huge,
      .uordblks = stats.HeapAlloc,
      .fordblks = difference(stats.HeapSys, stats.HeapAlloc),
      .keepcost = stats.HeapIdle,
  };
}

static int clamp(size_t value) {
  return value < INT_MAX ? (int)value : INT_MAX;
}

/* Its fields are int: values beyond 2 GiB are cut off there instead of wrapping as in glibc. */
HA_EXPORT struct mallinfo mallinfo(void) {
  struct mallinfo2 wide = mallinfo2();
  return (struct mallinfo){
      .arena = clamp(wide.arena),
      .hblkhd = clamp(wide.hblkhd),
      .uordblks = clamp(wide.uordblks),
      .fordblks = clamp(wide.fordblks),
      .keepcost = clamp(wide.keepcost),
  };
}

/* glibc's parameters mean nothing here; 1 is what glibc answers when it takes one. */
HA_EXPORT int mallopt(int parameter, int value) {
  (void)parameter;
  (void)value;
  return 1;
}

/* As in glibc: 1 if memory was given back to the system, else 0. */
HA_EXPORT int malloc_trim(size_t pad) {
  (void)pad;
  uint64_t before = ha_release_totals().bytes;
  hp_free_os_memory();
  return ha_release_totals().bytes != before;
}

HA_EXPORT void malloc_stats(void) {
  struct hp_memstats stats;
  ha_stats_read(&stats);
  ha_log("in use %lu bytes in %lu blocks; heap %lu bytes, idle %lu; halloc's own tables %lu", stats.HeapAlloc,
         stats.HeapObjects, stats.HeapSys, stats.HeapIdle, stats.Sys - stats.HeapSys);
}

HA_EXPORT int malloc_info(int options, FILE *stream) {
  if (options != 0) {
    return EINVAL;
  }
  struct hp_memstats stats;
  ha_stats_read(&stats);
  fprintf(stream, "<malloc version=\"halloc-" HP_VERSION "\">\n<sizes>\n");
  for (int i = 0; i < HP_SIZE_CLASSES; i++) {
    if (stats.BySize[i].Mallocs != 0) {
      fprintf(stream, "<size class=\"%u\" mallocs=\"%lu\" frees=\"%lu\"/>\n", stats.BySize[i].Size,
              stats.BySize[i].Mallocs, stats.BySize[i].Frees);
    }
  }
  fprintf(
      stream,
      "</sizes>\n<system type=\"current\" size=\"%lu\"/>\n<inuse size=\"%lu\" blocks=\"%lu\"/>\n</malloc>\n",
      stats.HeapSys, stats.HeapAlloc, stats.HeapObjects);
  return 0;
}
