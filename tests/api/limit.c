/* SPDX-License-Identifier: MIT */
#include "tests/api/limit.h"

#include <dlfcn.h>

bool hp_free_os(void) {
  void (*free_os_memory)(void);
  *(void **)&free_os_memory = dlsym(RTLD_DEFAULT, "hp_free_os_memory");
  if (free_os_memory == NULL) {
    return false;
  }
  free_os_memory();
  return true;
}

bool hp_limit(int64_t *limit) {
  int64_t (*set_limit)(int64_t);
  *(void **)&set_limit = dlsym(RTLD_DEFAULT, "hp_set_memory_limit");
  if (set_limit == NULL) {
    return false;
  }
  *limit = set_limit(*limit);
  return true;
}

bool hp_tell(void (*fn)(const struct hp_pressure *, void *), void *arg) {
  int (*on_memory_pressure)(void (*)(const struct hp_pressure *, void *), void *);
  *(void **)&on_memory_pressure = dlsym(RTLD_DEFAULT, "hp_on_memory_pressure");
  return on_memory_pressure != NULL && on_memory_pressure(fn, arg) == 0;
}
