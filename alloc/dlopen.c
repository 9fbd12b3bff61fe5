/* SPDX-License-Identifier: MIT */
/*
 * dlopen and dlmopen without RTLD_DEEPBIND, and dlclose with notice to the stack walker.
 *
 * A library opened with that flag finds libc's malloc before ours: a block that crosses its border then
 * reaches the wrong free, and glibc aborts. Since glibc 2.34 has no malloc hooks that could mend it, the flag
 * is taken out. Both functions end in a jump to libc's (the compiler's sibling call), because ld.so looks at
 * the return address to know whose RUNPATH applies.
 */
#include <dlfcn.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "sampler/rule_cache.h"

typedef int dlclose_fn(void *library);
typedef void *dlopen_fn(const char *path, int mode);
typedef void *dlmopen_fn(Lmid_t space, const char *path, int mode);

/* All set at first use, by any number of threads to the same value. dlsym fails only if libc has no such
 * name, and then the program could not have called it either. */
static dlclose_fn *libc_dlclose;
static dlopen_fn *libc_dlopen;
static dlmopen_fn *libc_dlmopen;

static HA_COLD void find_in_libc(void) {
  ha_store_relaxed(&libc_dlclose, (dlclose_fn *)dlsym(RTLD_NEXT, "dlclose"));
  ha_store_relaxed(&libc_dlopen, (dlopen_fn *)dlsym(RTLD_NEXT, "dlopen"));
  ha_store_relaxed(&libc_dlmopen, (dlmopen_fn *)dlsym(RTLD_NEXT, "dlmopen"));
}

HA_EXPORT void *dlopen(const char *path, int mode) {
  if (ha_load_relaxed(&libc_dlopen) == NULL) {
    find_in_libc();
  }
  return ha_load_relaxed(&libc_dlopen)(path, mode & ~RTLD_DEEPBIND);
}

HA_EXPORT void *dlmopen(Lmid_t space, const char *path, int mode) {
  if (ha_load_relaxed(&libc_dlmopen) == NULL) {
    find_in_libc();
  }
  return ha_load_relaxed(&libc_dlmopen)(space, path, mode & ~RTLD_DEEPBIND);
}

/* Twice: no rule of the library is used once its memory may be gone, and none found meanwhile is kept. */
HA_EXPORT int dlclose(void *library) {
  if (ha_load_relaxed(&libc_dlclose) == NULL) {
    find_in_libc();
  }
  ha_rules_forget();
  int result = ha_load_relaxed(&libc_dlclose)(library);
  ha_rules_forget();
  return result;
}
