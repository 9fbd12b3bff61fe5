/* SPDX-License-Identifier: MIT */
/*
 * What is left behind at exit: the heap profile of HALLOC_MEMPROFILE and the statistics line of HALLOC_MEMSTATS.
 *
 * Runs once, at exit (as a destructor, after the program's own handlers) or at quick_exit. The profile is written to a
 * new file beside its place and renamed, so a reader never sees half of one, links planted at the name are not
 * followed, and the file is the owner's only. A forked child writes only if the name holds %p: it must not replace
 * the profile of the process that was asked for one. The report of an exceeded limit leaves its profile the same way.
 */
#include "serve/exit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/pressure.h"
#include "alloc/stats.h"
#include "alloc/thread.h"
#include "base/atomic.h"
#include "base/config.h"
#include "base/log.h"
#include "base/os.h"
#include "base/plugin.h"
#include "sampler/unwind.h"
#include "serve/limit_report.h"
#include "serve/memstats_text.h"
#include "serve/pprof_library.h"
#include "serve/profiles.h"

/* Not on the stack, which may be a small one where a limit is reported. */
struct names {
  char path[PATH_MAX];
  char temporary[PATH_MAX];
};

static int has_run;     /* atomic */
static pid_t first_pid; /* the process that was started, not forked */

/* Out of the way of the numbers a program expects to get. */
#define KEPT_FD_MIN 100

static int kept_stderr = -1;
static struct stat kept_stat;

/* The configured path with %p replaced by the process id, and a suffix. False if it does not fit. */
static bool expand(const char *pattern, const char *suffix, char *out, size_t size) {
  size_t length = 0;
  for (; *pattern != '\0'; pattern++) {
    size_t room = length < size ? size - length : 0;
    if (pattern[0] == '%' && pattern[1] == 'p') {
      length += ha_format(out + (room > 0 ? length : 0), room, "%d", (int)getpid());
      pattern++;
    } else {
      length += ha_format(out + (room > 0 ? length : 0), room, "%c", *pattern);
    }
  }
  size_t room = length < size ? size - length : 0;
  length += ha_format(out + (room > 0 ? length : 0), room, "%s", suffix);
  return length < size;
}

static int write_new_file(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) {
    return -errno;
  }
  int error = ha_profile_write("heap", fd, 0);
  if (close(fd) != 0 && error == 0) {
    error = -errno;
  }
  if (error != 0) {
    unlink(path);
  }
  return error;
}

/* A file that has no name yet, in the directory of path: a process killed while it writes leaves nothing behind.
 * Not inlined: its stack must be free again when the profile is encoded. */
HA_NOINLINE static int open_nameless(const char *path) {
  char directory[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t length = slash != NULL ? (size_t)(slash - path) + 1 : 0;
  ha_format(directory, sizeof directory, "%s", length > 0 ? path : ".");
  if (length > 0) {
    directory[length] = '\0';
  }
  return open(directory, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
}

/* The profile under the temporary name, whole from the start where the file system can do that. */
static int write_temporary(const char *path) {
  int fd = open_nameless(path);
  if (fd < 0) {
    return write_new_file(path);
  }
  char own[sizeof "/proc/self/fd/" + 3 * sizeof fd];
  ha_format(own, sizeof own, "/proc/self/fd/%d", fd);
  int error = ha_profile_write("heap", fd, 0);
  if (error == 0 && linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0) {
    error = -errno;
  }
  close(fd);
  /* Without /proc it cannot be named. */
  return error == -ENOENT || error == -EXDEV ? write_new_file(path) : error;
}

/* The profile under its name. 0 or -errno. */
static int write_profile(const char *pattern, const char *suffix, struct names *names) {
  if (!expand(pattern, suffix, names->path, sizeof names->path) ||
      ha_format(names->temporary, sizeof names->temporary, "%s.%d.tmp", names->path, (int)getpid()) >=
          sizeof names->temporary) {
    return -ENAMETOOLONG;
  }
  unlink(names->temporary); /* left by an earlier process of the same id */
  int error = write_temporary(names->temporary);
  if (error == 0 && rename(names->temporary, names->path) != 0) {
    error = -errno;
    unlink(names->temporary);
  }
  return error;
}

void ha_exit_write_profile(const char *suffix) {
  const char *pattern = ha_config.profile_path;
  if (pattern[0] == '\0' || (getpid() != first_pid && strstr(pattern, "%p") == NULL)) {
    return;
  }
  struct names *names = ha_os_map(sizeof *names);
  int error = names != NULL ? write_profile(pattern, suffix, names) : -ENOMEM;
  if (names != NULL) {
    ha_os_unmap(names, sizeof *names);
  }
  if (error != 0) {
    ha_log("HALLOC_MEMPROFILE=%s: the profile%s%s could not be written: %s", pattern,
           suffix[0] != '\0' ? " " : "", suffix, strerrordesc_np(-error));
  }
}

/* Many programs close standard error at their exit, before we get to write: a copy is kept when it will be
 * wanted. */
static void keep_stderr(void) {
  int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
  if (fd >= 0 && fstat(fd, &kept_stat) == 0) {
    kept_stderr = fd;
  }
}

/* The copy if it is still what it was: the program may have closed all descriptors and used the number again.
 */
static int report_fd(void) {
  struct stat now;
  bool is_same = kept_stderr >= 0 && fstat(kept_stderr, &now) == 0 && now.st_dev == kept_stat.st_dev &&
                 now.st_ino == kept_stat.st_ino;
  return is_same ? kept_stderr : STDERR_FILENO;
}

static void print_memstats(void) {
  char line[HA_MEMSTATS_TEXT_MAX];
  struct hp_memstats stats;
  ha_stats_read(&stats);
  size_t length = ha_memstats_json(&stats, line, sizeof line - 1);
  line[length++] = '\n';
  ssize_t written = write(report_fd(), line, length);
  (void)written; /* nowhere else to report to */
}

static void at_exit(void) {
  if (ha_exchange_acq_rel(&has_run, 1) != 0) {
    return;
  }
  int saved = errno;
  if (ha_config.memstats != 0) {
    print_memstats();
  }
  ha_exit_write_profile("");
  errno = saved;
}

__attribute__((destructor)) static void on_exit_of_process(void) {
  at_exit();
}

__attribute__((constructor)) static void register_quick_exit(void) {
  ha_initialize();
  ha_plugin_prepare();
  ha_unwind_prepare();
  if (ha_config.profile_path[0] != '\0' || ha_config.memlimit.kind != HA_LIMIT_OFF) {
    /* Now, while it can be found: at exit the program may be anywhere, and the limit is met inside malloc. */
    ha_pprof_library();
  }
  first_pid = getpid();
  ha_pressure_report_with(ha_limit_report);
  if (ha_config.memstats != 0) {
    keep_stderr();
  }
  if (ha_config.memstats != 0 || ha_config.profile_path[0] != '\0') {
    at_quick_exit(at_exit);
  }
}
