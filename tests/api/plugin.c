/* SPDX-License-Identifier: MIT */
/*
 * A library that allocates when it is loaded, while it is unloaded, and from its thread-local storage.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_give(void);

static __thread char big[4096]; /* dynamic TLS: ld.so itself allocates and frees it */
static void *kept;

__attribute__((constructor)) static void on_load(void) {
  kept = malloc(1000);
  memset(big, 1, sizeof big);
}

__attribute__((destructor)) static void on_unload(void) {
  free(kept);
  for (size_t size = 1; size < 1000000; size *= 3) {
    free(malloc(size));
  }
}

void *plugin_give(void) {
  return malloc(big[0] + 100);
}
