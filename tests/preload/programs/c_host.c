// SPDX-License-Identifier: MIT
// A C program that loads and unloads a C++ library over and over.
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
  for (int round = 0; round < 10 && argc > 1; round++) {
    void *plugin = dlopen(argv[1], round % 2 == 0 ? RTLD_NOW : RTLD_LAZY | RTLD_LOCAL);
    int (*work)(int) = plugin != NULL ? (int (*)(int))dlsym(plugin, "plugin_work") : NULL;
    if (work == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
    printf("%d\n", work(1000));
    dlclose(plugin);
  }
  return 0;
}
