/* SPDX-License-Identifier: MIT */
/*
 * Finding a program as execvp finds it and checking it, its interpreter, the interpreter's interpreter and so
 * on.
 *
 * `#!/usr/bin/env NAME` is followed to NAME as well: the env program passes LD_PRELOAD on, but NAME is what
 * allocates. A text file without `#!` is run by /bin/sh, as execvp does it.
 */
#include "tools/elf_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/elf_image.h"

/* Linux follows at most four interpreters (fs/exec.c). */
#define SCRIPT_DEPTH_MAX 4
/* Linux reads this much of a script's first line (BINPRM_BUF_SIZE, since 5.1). */
#define SCRIPT_LINE_MAX 256
#define DEFAULT_PATH "/bin:/usr/bin"
#define SHELL_PATH "/bin/sh"

HA_PRINTF(2, 3) static bool fail(struct ha_program_problem *problem, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(problem->text, sizeof problem->text, format, args);
  va_end(args);
  return false;
}

/* 0, or the errno that starting the file would give. */
static int execute_error(const char *path) {
  struct stat st;
  if (stat(path, &st) < 0)
    return errno;
  if (S_ISDIR(st.st_mode))
    return EISDIR;
  return !S_ISREG(st.st_mode) || access(path, X_OK) < 0 ? EACCES : 0;
}

static bool report_execute_error(const char *path, int error, struct ha_program_problem *problem) {
  if (error == EISDIR)
    return fail(problem, "%s: expected a program, this is a directory", path);
  if (error == EACCES)
    return fail(problem, "%s: expected a file that may be executed, this one is not executable", path);
  return fail(problem, "%s: expected a program: %s", path, strerror(error));
}

bool ha_program_find(const char *name, char ret_path[HA_PATH_MAX], struct ha_program_problem *ret_problem) {
  if (*name == '\0')
    return fail(ret_problem, "'': expected the name of a program");
  if (strchr(name, '/') != NULL) {
    snprintf(ret_path, HA_PATH_MAX, "%s", name);
    int error = execute_error(name);
    return error == 0 ? true : report_execute_error(name, error, ret_problem);
  }
  const char *place = getenv("PATH");
  int found_error = ENOENT;
  for (place = place == NULL ? DEFAULT_PATH : place;; place++) {
    size_t length = strcspn(place, ":");
    int written =
        snprintf(ret_path, HA_PATH_MAX, "%.*s%s%s", (int)length, place, length == 0 ? "" : "/", name);
    int error = written < HA_PATH_MAX ? execute_error(ret_path) : ENAMETOOLONG;
    if (error == 0)
      return true;
    if (error == EACCES)
      found_error = EACCES;
    place += length;
    if (*place == '\0')
      break;
  }
  if (found_error == EACCES)
    return report_execute_error(name, EACCES, ret_problem);
  return fail(ret_problem, "%s: expected a program: not found in PATH", name);
}

static bool check_privileges(const char *path, struct ha_program_problem *problem) {
  struct stat st;
  if (stat(path, &st) == 0 && (st.st_mode & (S_ISUID | S_ISGID)) != 0)
    return fail(problem, "%s: expected an ordinary program, this one is %s and ignores LD_PRELOAD", path,
                (st.st_mode & S_ISUID) != 0 ? "setuid" : "setgid");
  if (getxattr(path, "security.capability", NULL, 0) > 0)
    return fail(problem,
                "%s: expected an ordinary program, this one has file capabilities and ignores LD_PRELOAD",
                path);
  return true;
}

static bool check_elf(const char *path, const struct ha_elf_image *image,
                      struct ha_program_problem *problem) {
  if (!ha_elf_is_native(image))
    return fail(problem,
                "%s: expected a program for the machine halloc was built for, this one is for another", path);
  if (!check_privileges(path, problem))
    return false;
  const char *linker = ha_elf_interpreter(image);
  if (linker == NULL)
    return fail(problem,
                "%s: expected a dynamically linked program, this one is static and ignores LD_PRELOAD"
                " (link libhalloc.a into it instead)",
                path);
  if (access(linker, F_OK) < 0)
    return fail(problem, "%s: expected its dynamic linker %s to exist", path, linker);
  if (strstr(linker, "/ld-musl") != NULL)
    return fail(problem, "%s: expected a program for glibc, this one uses musl", path);
  if (ha_elf_defines(image, "malloc"))
    return fail(problem, "%s: expected a program that uses the system's malloc, this one defines its own",
                path);
  return true;
}

struct script_line {
  char interpreter[SCRIPT_LINE_MAX];
  char argument[SCRIPT_LINE_MAX]; /* rest of the line, or "" */
};

static bool is_script(const struct ha_elf_image *image) {
  return image->size >= 2 && image->bytes[0] == '#' && image->bytes[1] == '!';
}

static void read_script_line(const struct ha_elf_image *image, struct script_line *ret_line) {
  char line[SCRIPT_LINE_MAX];
  size_t length = image->size - 2 < sizeof line - 1 ? image->size - 2 : sizeof line - 1;
  memcpy(line, image->bytes + 2, length);
  line[length] = '\0';
  line[strcspn(line, "\n")] = '\0';
  char *word = line + strspn(line, " \t");
  size_t word_length = strcspn(word, " \t");
  char *rest = word + word_length + strspn(word + word_length, " \t");
  strcpy(ret_line->argument, rest);
  word[word_length] = '\0';
  strcpy(ret_line->interpreter, word);
}

/* The program that `env` starts: its first word that is neither an option nor an assignment. */
static bool find_env_program(char *argument, char ret_name[SCRIPT_LINE_MAX]) {
  for (char *word = strtok(argument, " \t"); word != NULL; word = strtok(NULL, " \t")) {
    if (word[0] == '-' || strchr(word, '=') != NULL)
      continue;
    snprintf(ret_name, SCRIPT_LINE_MAX, "%s", word);
    return true;
  }
  return false;
}

static bool is_env(const char *path) {
  const char *base = strrchr(path, '/');
  return strcmp(base == NULL ? path : base + 1, "env") == 0;
}

static bool check_file(const char *path, unsigned depth, struct ha_program_problem *problem);

static bool check_found(const char *script, const char *name, unsigned depth,
                        struct ha_program_problem *problem) {
  char path[HA_PATH_MAX];
  struct ha_program_problem inner;
  if (!ha_program_find(name, path, &inner) || !check_file(path, depth + 1, &inner))
    return fail(problem, "%.1024s: its interpreter %.3000s", script, inner.text);
  return true;
}

static bool check_script(const char *path, const struct ha_elf_image *image, unsigned depth,
                         struct ha_program_problem *problem) {
  struct script_line line;
  char name[SCRIPT_LINE_MAX];
  read_script_line(image, &line);
  if (depth > SCRIPT_DEPTH_MAX)
    return fail(problem, "%s: expected at most %d interpreters in a row", path, SCRIPT_DEPTH_MAX);
  if (line.interpreter[0] == '\0')
    return fail(problem, "%s: expected an interpreter after #!", path);
  /* The kernel does not search PATH for it. */
  int error = execute_error(line.interpreter);
  if (error != 0) {
    struct ha_program_problem inner;
    report_execute_error(line.interpreter, error, &inner);
    return fail(problem, "%.1024s: its interpreter %.3000s", path, inner.text);
  }
  if (!check_found(path, line.interpreter, depth, problem))
    return false;
  if (is_env(line.interpreter) && find_env_program(line.argument, name))
    return check_found(path, name, depth, problem);
  return true;
}

static bool looks_like_text(const struct ha_elf_image *image) {
  size_t length = image->size < SCRIPT_LINE_MAX ? image->size : SCRIPT_LINE_MAX;
  return length == 0 || memchr(image->bytes, '\0', length) == NULL;
}

static bool check_image(const char *path, const struct ha_elf_image *image, unsigned depth,
                        struct ha_program_problem *problem) {
  if (ha_elf_is_elf(image))
    return check_elf(path, image, problem);
  if (is_script(image))
    return check_script(path, image, depth, problem);
  if (!looks_like_text(image))
    return fail(problem, "%s: expected an ELF program or a script, this is neither", path);
  return check_found(path, SHELL_PATH, depth, problem);
}

static bool check_file(const char *path, unsigned depth, struct ha_program_problem *problem) {
  struct ha_elf_image image;
  int error = ha_elf_open(path, &image);
  if (error == -EACCES)
    return check_privileges(path, problem);
  if (error != 0)
    return fail(problem, "%s: expected a readable file: %s", path, strerror(-error));
  bool works = check_image(path, &image, depth, problem);
  ha_elf_close(&image);
  return works;
}

bool ha_program_check(const char *path, struct ha_program_problem *ret_problem) {
  return check_file(path, 0, ret_problem);
}
