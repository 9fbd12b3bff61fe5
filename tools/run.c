/* SPDX-License-Identifier: MIT */
/*
 * `halloc run`: start a program with libhalloc.so preloaded.
 *
 * The options become the HALLOC_* variables of the library, the library goes in front of LD_PRELOAD, and the
 * program replaces this process, so its exit status, signals and process id are its own. Before that the
 * program is checked (elf_check.h): a preload that silently does nothing would cost the user the whole run.
 * The child processes of the program inherit the environment and are therefore profiled too.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/elf_check.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/verbs.h"

#ifndef HA_LIBDIR
#error "HA_LIBDIR must be given by the build"
#endif

#define LIBRARY_NAME "libhalloc.so"
#define LOCKS_LIBRARY_NAME "libhalloc-locks.so"
/* With --locks: every contention, and waits in proportion to 10 microseconds. */
#define MUTEX_FRACTION "1"
#define BLOCK_RATE "10000"
#define STACK_DEPTH_MAX 1024
#define NUMBER_TEXT 24
#define NOT_RUN "nothing was run"

enum run_option {
  OPT_MEMPROFILE,
  OPT_RATE,
  OPT_MEMSTATS,
  OPT_STACKDEPTH,
  OPT_UNWIND,
  OPT_HTTP,
  OPT_LOCKS,
  OPT_LIB,
  OPT_HELP
};

static const struct ha_option options[] = {
    [OPT_MEMPROFILE] = {"memprofile", NULL, "a file name (%p becomes the process id)"},
    [OPT_RATE] = {"rate", NULL,
                  "an integer >= 0 (mean bytes between samples; 1 = every allocation, 0 = off)"},
    [OPT_MEMSTATS] = {"memstats", NULL, NULL},
    [OPT_STACKDEPTH] = {"stackdepth", NULL, "an integer from 1 to 1024 (frames kept per sample)"},
    [OPT_UNWIND] = {"unwind", NULL, "one of auto, dwarf, fp, libgcc"},
    [OPT_LOCKS] = {"locks", NULL, NULL},
    [OPT_HTTP] = {"http", NULL, "an address such as 127.0.0.1:6060, :0 or unix:/path"},
    [OPT_LIB] = {"lib", NULL, "the path of libhalloc.so"},
    [OPT_HELP] = {"help", "h", NULL},
};

static const char help[] =
    "usage: halloc run [options] [--] PROGRAM [arguments]\n"
    "\n"
    "Starts PROGRAM with libhalloc.so as its malloc. The exit status is the program's own.\n"
    "\n"
    "  --memprofile FILE  write a heap profile to FILE at exit; %p in FILE becomes the process id\n"
    "  --rate N           mean bytes between samples (default 524288; 1 = every allocation, 0 = off)\n"
    "  --memstats         print the allocator's statistics as one JSON line at exit\n"
    "  --stackdepth N     frames kept per sample, 1 to 1024 (default 128)\n"
    "  --unwind M         stack walker: auto, dwarf, fp or libgcc (default auto)\n"
    "  --locks            watch waits for locks, for the profiles mutex and block\n"
    "  --http ADDRESS     serve profiles and metrics at 127.0.0.1:6060, :0 (any free port), unix:/path, ...\n"
    "  --lib PATH         the library to preload instead of the one installed with this command\n"
    "\n"
    "Programs that LD_PRELOAD cannot reach (static, setuid, with a malloc of their own) are refused.\n";

static int complain_option(enum run_option option, const char *value) {
  ha_complain("--%s: %s: expected %s; " NOT_RUN, options[option].name, value, options[option].value_form);
  return -1;
}

static int set_variable(const char *name, const char *value) {
  if (setenv(name, value, 1) == 0)
    return 0;
  ha_complain("%s: %s: expected room in the environment: %s; " NOT_RUN, name, value, strerror(errno));
  return -1;
}

static int set_number(enum run_option option, const char *variable, const char *value, uint64_t min,
                      uint64_t max) {
  uint64_t number;
  char text[NUMBER_TEXT];
  if (!ha_parse_number(value, min, max, &number))
    return complain_option(option, value);
  snprintf(text, sizeof text, "%llu", (unsigned long long)number);
  return set_variable(variable, text);
}

static int make_absolute(const char *path, char ret_path[HA_PATH_MAX]) {
  char directory[HA_PATH_MAX] = "";
  while (strncmp(path, "./", 2) == 0)
    path += 2;
  if (path[0] != '/' && getcwd(directory, sizeof directory) == NULL)
    return -errno;
  int length = snprintf(ret_path, HA_PATH_MAX, "%s%s%s", directory, path[0] == '/' ? "" : "/", path);
  return length < HA_PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A missing directory would be noticed only when the profile is lost, at the end of the run. */
static int check_directory(const char *file, const char *absolute) {
  char directory[HA_PATH_MAX];
  struct stat st;
  snprintf(directory, sizeof directory, "%s", absolute);
  *(strrchr(directory, '/') + 1) = '\0';
  if (strchr(directory, '%') != NULL || (stat(directory, &st) == 0 && S_ISDIR(st.st_mode)))
    return 0;
  ha_complain("--memprofile: %s: expected a file in a directory that exists; " NOT_RUN, file);
  return -1;
}

static int set_memprofile(const char *file) {
  char absolute[HA_PATH_MAX];
  if (*file == '\0')
    return complain_option(OPT_MEMPROFILE, "''");
  int error = make_absolute(file, absolute);
  if (error != 0) {
    ha_complain("--memprofile: %s: expected a usable path: %s; " NOT_RUN, file, strerror(-error));
    return -1;
  }
  if (check_directory(file, absolute) != 0)
    return -1;
  return set_variable("HALLOC_MEMPROFILE", absolute);
}

static int set_unwind(const char *value) {
  static const char *const walkers[] = {"auto", "dwarf", "fp", "libgcc"};
  for (size_t i = 0; i < HA_ARRAY_LEN(walkers); i++) {
    if (strcmp(value, walkers[i]) == 0)
      return set_variable("HALLOC_UNWIND", value);
  }
  return complain_option(OPT_UNWIND, value);
}

/* A value that the user has set is kept. */
static int set_default(const char *name, const char *value) {
  return getenv(name) == NULL ? set_variable(name, value) : 0;
}

static int set_locks(bool *watches_locks) {
  *watches_locks = true;
  if (set_default("HALLOC_MUTEXPROFILEFRACTION", MUTEX_FRACTION) != 0)
    return -1;
  return set_default("HALLOC_BLOCKPROFILERATE", BLOCK_RATE);
}

/* What is loaded into the program. */
struct preload {
  const char *library; /* NULL: our own */
  bool watches_locks;
};

static int apply_option(enum run_option option, const char *value, struct preload *preload) {
  switch (option) {
  case OPT_MEMPROFILE:
    return set_memprofile(value);
  case OPT_RATE:
    return set_number(option, "HALLOC_MEMPROFILERATE", value, 0, INT64_MAX);
  case OPT_MEMSTATS:
    return set_variable("HALLOC_MEMSTATS", "1");
  case OPT_STACKDEPTH:
    return set_number(option, "HALLOC_STACKDEPTH", value, 1, STACK_DEPTH_MAX);
  case OPT_UNWIND:
    return set_unwind(value);
  case OPT_LOCKS:
    return set_locks(&preload->watches_locks);
  case OPT_HTTP:
    return *value != '\0' ? set_variable("HALLOC_HTTP", value) : complain_option(option, "''");
  case OPT_LIB:
    preload->library = value;
    return 0;
  case OPT_HELP:
    break;
  }
  return 0;
}

static bool is_readable_file(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

/* Beside this command first, so that a build directory uses its own library and not an installed one. */
static bool find_own_library(char ret_path[HA_PATH_MAX]) {
  char self[HA_PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length > 0) {
    self[length] = '\0';
    *(strrchr(self, '/') + 1) = '\0';
    if (snprintf(ret_path, HA_PATH_MAX, "%s%s", self, LIBRARY_NAME) < HA_PATH_MAX &&
        is_readable_file(ret_path))
      return true;
  }
  snprintf(ret_path, HA_PATH_MAX, "%s/%s", HA_LIBDIR, LIBRARY_NAME);
  return is_readable_file(ret_path);
}

static int find_library(const char *given, char ret_path[HA_PATH_MAX]) {
  if (given == NULL && !find_own_library(ret_path)) {
    ha_complain("library: " LIBRARY_NAME
                ": expected it beside this command or in %s (or give --lib PATH); " NOT_RUN,
                HA_LIBDIR);
    return -1;
  }
  if (given != NULL && (!is_readable_file(given) || make_absolute(given, ret_path) != 0))
    return complain_option(OPT_LIB, given);
  /* LD_PRELOAD has no way to quote its separators. */
  if (strpbrk(ret_path, " :") != NULL) {
    ha_complain(
        "library: %s: expected a path without spaces and colons, which LD_PRELOAD cannot hold; " NOT_RUN,
        ret_path);
    return -1;
  }
  return 0;
}

/* The library that sees locks lies beside the other. */
static int add_locks_library(char path[HA_PATH_MAX]) {
  char locks[HA_PATH_MAX];
  size_t directory = (size_t)(strrchr(path, '/') + 1 - path);
  int length = snprintf(locks, sizeof locks, "%.*s%s", (int)directory, path, LOCKS_LIBRARY_NAME);
  if (length >= (int)sizeof locks || !is_readable_file(locks)) {
    ha_complain("--locks: %s: expected " LOCKS_LIBRARY_NAME " beside it; " NOT_RUN, path);
    return -1;
  }
  size_t size = strlen(path);
  return snprintf(path + size, HA_PATH_MAX - size, ":%s", locks) < (int)(HA_PATH_MAX - size) ? 0 : -1;
}

static int set_preload(const char *library) {
  const char *previous = getenv("LD_PRELOAD");
  if (previous == NULL || *previous == '\0')
    return set_variable("LD_PRELOAD", library);
  size_t size = strlen(library) + strlen(previous) + sizeof ":";
  char *both = ha_array(size, 1);
  snprintf(both, size, "%s:%s", library, previous);
  int status = set_variable("LD_PRELOAD", both);
  free(both);
  return status;
}

static int start(char **program, const struct preload *preload) {
  char path[HA_PATH_MAX], library[HA_PATH_MAX];
  struct ha_program_problem problem;
  if (!ha_program_find(program[0], path, &problem) || !ha_program_check(path, &problem))
    return ha_complain("run: %s; " NOT_RUN, problem.text);
  if (find_library(preload->library, library) != 0 ||
      (preload->watches_locks && add_locks_library(library) != 0) || set_preload(library) != 0)
    return HA_EXIT_USAGE;
  execvp(program[0], program);
  return ha_complain("run: %s: expected a program that starts: %s; " NOT_RUN, path, strerror(errno));
}

static int run_verb(char **words) {
  struct ha_arguments args = {"run", options, HA_ARRAY_LEN(options), words, 0, NULL};
  struct preload preload = {NULL, false};
  int option;
  while ((option = ha_arguments_next(&args)) >= 0) {
    if (option == OPT_HELP)
      return HA_HELP_WANTED;
    if (apply_option((enum run_option)option, args.value, &preload) != 0)
      return HA_EXIT_USAGE;
  }
  if (option == HA_ARGUMENT_BAD)
    return HA_EXIT_USAGE;
  char **program = words + args.next - (option == HA_ARGUMENT_PLAIN ? 1 : 0);
  if (program[0] == NULL)
    return ha_complain(
        "run: program: expected the program to start, as in 'halloc run -- PROGRAM'; " NOT_RUN);
  return start(program, &preload);
}

const struct ha_verb ha_verb_run = {"run", "start a program with halloc as its malloc", help, run_verb};
