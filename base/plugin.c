/* SPDX-License-Identifier: MIT */
/*
 * dlopen by the directory of our own object, which ld.so knows.
 */
#include "base/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

static char start_directory[PATH_MAX]; /* only if our own name is relative to it; written at start-up */

/* The name ld.so has for the object that holds this code; "" for a main program. */
static const char *own_name(void) {
  struct dl_find_object object;
  if (_dl_find_object((void *)(uintptr_t)&own_name, &object) != 0) {
    return "";
  }
  return object.dlfo_link_map->l_name;
}

void ha_plugin_prepare(void) {
  const char *name = own_name();
  bool is_relative = name[0] != '/' && strchr(name, '/') != NULL;
  if (is_relative && getcwd(start_directory, sizeof start_directory) == NULL) {
    start_directory[0] = '\0';
  }
}

static void *open_beside_us(const char *library) {
  const char *name = own_name();
  const char *slash = strrchr(name, '/');
  char directory[PATH_MAX];
  char path[PATH_MAX];
  if (slash == NULL || (size_t)(slash - name) >= sizeof directory) {
    return NULL;
  }
  memcpy(directory, name, (size_t)(slash - name));
  directory[slash - name] = '\0';
  const char *base = name[0] == '/' ? "" : start_directory;
  const char *separator = base[0] != '\0' ? "/" : "";
  size_t length = ha_format(path, sizeof path, "%s%s%s/%s", base, separator, directory, library);
  return length < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

/* Held while a library is loaded, and from before a fork to its end: ld.so does not mend its state in a child that is made
 * while another thread changes it, and the child could load nothing more. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static bool is_held_by_fork; /* who forks */

/* A thread that forks in a constructor holds ld.so's lock, for which the one that loads our library may be waiting: no
 * longer than that then. */
#define LONGEST_WAIT_SECONDS 1

void ha_plugin_before_fork(void) {
  struct timespec deadline;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  deadline.tv_sec += LONGEST_WAIT_SECONDS;
  is_held_by_fork = pthread_mutex_clocklock(&loading, CLOCK_MONOTONIC, &deadline) == 0;
}

void ha_plugin_after_fork_in_parent(void) {
  if (is_held_by_fork) {
    pthread_mutex_unlock(&loading);
  }
}

void ha_plugin_after_fork_in_child(void) {
  pthread_mutex_init(&loading, NULL);
}

static void *find_symbol(const char *library, const char *symbol, const char **ret_reason) {
  void *handle = open_beside_us(library);
  if (handle == NULL) {
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  }
  void *address = handle != NULL ? dlsym(handle, symbol) : NULL;
  if (address == NULL) {
    *ret_reason = dlerror();
  }
  return address;
}

void *ha_plugin_symbol(const char *library, const char *symbol, const char **ret_reason) {
  pthread_mutex_lock(&loading);
  void *address = find_symbol(library, symbol, ret_reason);
  pthread_mutex_unlock(&loading);
  return address;
}
