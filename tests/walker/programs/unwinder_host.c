/* SPDX-License-Identifier: MIT */
/* A C program, linked with neither libstdc++ nor libgcc_s, that loads a C++ library which throws and catches.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  for (int i = 0; i < 3; i++) {
    void *library = dlopen(argv[2], RTLD_LAZY);
    if (library == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 2;
    }
    int (*throw_through)(int) = (int (*)(int))dlsym(library, "throw_through");
    int (*cancel)(int) = (int (*)(int))dlsym(library, "cancel");
    int result = throw_through(100) + throw_through(atoi(argv[1])) + cancel(20);
    if (result != 0) {
      return result;
    }
    dlclose(library);
  }
  return 0;
}
