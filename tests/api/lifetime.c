/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a program that allocates before main, in a destructor, at a thread's end, in
 * a library that comes and goes, or while it exits. Prints a line per moment; the last comes from the last
 * handler.
 *
 * usage: lifetime PLUGIN   (plugin.c as a shared library)
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What C++ compilers call for thread_local objects, and the handle of this program for it. */
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *library);
extern void *__dso_handle __attribute__((visibility("hidden")));

static void *kept[8]; /* blocks from one moment that a later one frees */

static void say(const char *text) {
  ssize_t written = write(STDOUT_FILENO, text, strlen(text));
  (void)written;
}

/* Blocks of all kinds are allocated, written and freed; one is kept. */
static void use(int moment, const char *name) {
  for (size_t size = 1; size < 50000000; size *= 7) {
    char *block = malloc(size);
    if (block == NULL) {
      say("FAIL no memory\n");
      _exit(1);
    }
    memset(block, 1, size < 10000 ? size : 10000);
    block = realloc(block, size * 2);
    free(block);
  }
  for (int i = 0; i < moment; i++) {
    free(kept[i]);
    kept[i] = malloc(100);
  }
  kept[moment] = calloc(10, 10);
  say(name);
}

static void before_libraries(int argc, char **argv, char **environment) {
  (void)argc;
  (void)argv;
  (void)environment;
  use(0, "preinit\n");
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **,
                                                                              char **) = before_libraries;

__attribute__((constructor(101))) static void first_constructor(void) {
  use(1, "constructor\n");
}

static void at_exit_handler(void) {
  use(5, "atexit\n");
}

__attribute__((destructor(101))) static void last_destructor(void) {
  use(6, "destructor\n");
}

static void at_thread_end(void *arg) {
  (void)arg;
  use(3, "thread destructor\n");
}

static void *thread(void *arg) {
  use(2, "thread\n");
  __cxa_thread_atexit_impl(at_thread_end, NULL, &__dso_handle);
  return arg;
}

static void load_and_unload(const char *path) {
  for (int i = 0; i < 100; i++) {
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) {
      say("FAIL dlopen\n");
      _exit(1);
    }
    void *(*give)(void);
    *(void **)&give = dlsym(library, "plugin_give");
    void *block = give();
    dlclose(library);
    free(block);
  }
  use(4, "plugin\n");
}

int main(int argc, char **argv) {
  pthread_t id;
  if (argc != 2) {
    return 2;
  }
  atexit(at_exit_handler);
  pthread_create(&id, NULL, thread, NULL);
  pthread_join(id, NULL);
  load_and_unload(argv[1]);
  return 0;
}
