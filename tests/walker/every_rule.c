/* SPDX-License-Identifier: MIT */
/*
 * Every function that libc, libstdc++ and libcrypto have unwind tables for, at many places in it: our reading
 * of the tables against libunwind's. Catches a call frame instruction or an expression that is misread.
 *
 *   every_rule [LIBRARY...]
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sampler/cfi.h"
#include "sampler/resolver.h"
#include "sampler/rule.h"

#define SHOWN_MAX 10

struct tally {
  unsigned long compared[HA_RULE_UNKNOWN + 1]; /* by our kind */
  unsigned long different;
  unsigned long functions;
};

static bool is_same(struct ha_rule a, struct ha_rule b) {
  if (a.kind != b.kind) {
    return false;
  }
  if (a.kind >= HA_RULE_SIGNAL) {
    return true;
  }
  return a.cfa_offset == b.cfa_offset && a.frame_place == b.frame_place &&
         (!a.frame_place || a.frame_offset == b.frame_offset);
}

static void compare_at(const char *object, uintptr_t pc, struct tally *tally) {
  struct ha_rule ours = ha_rule_find(pc);
  struct ha_rule theirs = ha_libunwind_resolve(pc);
  tally->compared[ours.kind]++;
  if (!is_same(ours, theirs) && tally->different++ < SHOWN_MAX) {
    printf("%s %#lx: ours %d %d %d %d, libunwind's %d %d %d %d\n", object, (unsigned long)pc, ours.kind,
           ours.cfa_offset, ours.frame_place, ours.frame_offset, theirs.kind, theirs.cfa_offset,
           theirs.frame_place, theirs.frame_offset);
  }
}

static void compare_function(const char *object, uintptr_t start, struct tally *tally) {
  static const unsigned offsets[] = {0, 1, 4, 5, 9, 17, 33, 64, 100, 200};
  struct ha_cfi_entry first, here;
  tally->functions++;
  for (unsigned i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
    bool is_inside =
        ha_cfi_find(start, &first) && ha_cfi_find(start + offsets[i], &here) && here.start == first.start;
    if (is_inside || i == 0) {
      compare_at(object, start + offsets[i], tally);
    }
  }
}

static int compare_object(struct dl_phdr_info *info, size_t size, void *arg) {
  struct tally tally = {0};
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_GNU_EH_FRAME) {
      continue;
    }
    const char *header = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    uint32_t count;
    memcpy(&count, header + 8, sizeof count); /* four bytes of form, the pointer to .eh_frame */
    for (uint32_t row = 0; row < count; row++) {
      int32_t function;
      memcpy(&function, header + 12 + (size_t)row * 8, sizeof function);
      compare_function(info->dlpi_name, (uintptr_t)header + (uintptr_t)(intptr_t)function, &tally);
    }
  }
  unsigned long *n = tally.compared;
  printf(
      "%s: %lu functions; stack %lu, frame %lu, loaded %lu, signal %lu, last %lu, unknown %lu; %lu differ\n",
      info->dlpi_name, tally.functions, n[0], n[1], n[2], n[3], n[4], n[5], tally.different);
  unsigned long *total = arg;
  total[0] += n[0] + n[1] + n[2] + n[3] + n[4];
  total[1] += tally.different;
  total[2] += n[5];
  return 0;
}

/* None of these libraries has functions that align their stack; these two do. */
__attribute__((noinline)) static void aligned(int n) {
  char bytes[64] __attribute__((aligned(64)));
  __asm__ volatile("" : : "r"(bytes), "r"(n) : "memory");
  printf("%s", "");
  __asm__ volatile("" : : "r"(bytes), "r"(n) : "memory");
}
__attribute__((noinline)) static void aligned_with_alloca(int n) {
  char bytes[64] __attribute__((aligned(64)));
  char *more = __builtin_alloca((size_t)n);
  __asm__ volatile("" : : "r"(bytes), "r"(more) : "memory");
  printf("%s", "");
  __asm__ volatile("" : : "r"(bytes), "r"(more) : "memory");
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (dlopen(argv[i], RTLD_NOW) == NULL) {
      printf("FAIL every_rule: %s\n", dlerror());
      return EXIT_FAILURE;
    }
  }
  aligned(argc);
  aligned_with_alloca(argc * 48);
  unsigned long total[3] = {0, 0, 0};
  dl_iterate_phdr(compare_object, total);
  if (total[1] != 0 || total[0] < 10000) {
    printf("FAIL every_rule: %lu of %lu differ\n", total[1], total[0]);
    return EXIT_FAILURE;
  }
  /* Hand-written code may compute its CFA from other registers: a few, not a kind of code. */
  if (total[2] * 100 > total[0]) {
    printf("FAIL every_rule: %lu places have no usable rule, %lu have\n", total[2], total[0]);
    return EXIT_FAILURE;
  }
  printf("ok every_rule (%lu compared, %lu unknown)\n", total[0], total[2]);
  return EXIT_SUCCESS;
}
