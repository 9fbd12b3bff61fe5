/* SPDX-License-Identifier: MIT */
/*
 * dlopen by the directory of our own object, which ld.so knows.
 */
#include "serve/pprof_library.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/log.h"

#define LIBRARY_NAME "libhalloc-pprof.so.0"

/* Present when the encoders are linked into the same object. */
extern const struct ha_encoders ha_encoders __attribute__((weak));

static const struct ha_encoders *loaded; /* atomic; set once */
static char start_directory[PATH_MAX];   /* only if our own name is relative to it; written at start-up */

/* The name ld.so has for the object that holds this code; "" for a main program. */
static const char *own_name(void) {
  struct dl_find_object object;
  if (_dl_find_object((void *)(uintptr_t)&own_name, &object) != 0) {
    return "";
  }
  return object.dlfo_link_map->l_name;
}

void ha_pprof_library_prepare(void) {
  const char *name = own_name();
  if (name[0] != '/' && strchr(name, '/') != NULL &&
      getcwd(start_directory, sizeof start_directory) == NULL) {
    start_directory[0] = '\0';
  }
}

static void *open_beside_us(void) {
  const char *name = own_name();
  const char *slash = strrchr(name, '/');
  if (slash == NULL) {
    return NULL;
  }
  char directory[PATH_MAX];
  char path[PATH_MAX];
  size_t length = (size_t)(slash - name);
  if (length >= sizeof directory) {
    return NULL;
  }
  memcpy(directory, name, length);
  directory[length] = '\0';
  const char *base = name[0] == '/' ? "" : start_directory;
  if (ha_format(path, sizeof path, "%s%s%s/%s", base, base[0] != '\0' ? "/" : "", directory, LIBRARY_NAME) >=
      sizeof path) {
    return NULL;
  }
  return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static const struct ha_encoders *load(void) {
  static int has_complained; /* atomic */
  void *library = open_beside_us();
  if (library == NULL) {
    library = dlopen(LIBRARY_NAME, RTLD_NOW | RTLD_LOCAL);
  }
  const struct ha_encoders *encoders = library != NULL ? dlsym(library, "ha_encoders") : NULL;
  if (encoders != NULL && encoders->version == HA_ENCODERS_VERSION) {
    return encoders;
  }
  if (ha_exchange_acq_rel(&has_complained, 1) == 0) {
    const char *reason = library == NULL ? dlerror() : "it is of another version";
    ha_log(LIBRARY_NAME " cannot be used, so no profile can be written: %s", reason);
  }
  return NULL;
}

const struct ha_encoders *ha_pprof_library(void) {
  if (&ha_encoders != NULL) {
    return &ha_encoders;
  }
  const struct ha_encoders *known = ha_load_acquire(&loaded);
  if (known == NULL) {
    known = load();
    ha_store_release(&loaded, known);
  }
  return known;
}
