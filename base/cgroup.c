/* SPDX-License-Identifier: MIT */
/*
 * The files of the kernel are read by bare system calls: libc's open and read may be interposed, and are
 * points where a thread can be cancelled. Finding needs long buffers, which are mapped for the time of the
 * call so that it runs on any stack.
 */
#include "base/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"

/* Version 1 shows "unlimited" as LONG_MAX rounded down to an OS page, kernels before 3.19 as LONG_MAX or
 * ULONG_MAX. */
#define UNLIMITED ((uint64_t)INT64_MAX & ~(uint64_t)(HA_OS_PAGE - 1))
/* mountinfo: the root and the mount point have up to PATH_MAX bytes each, of which each may be written as
 * \ooo. */
#define LINE_MAX_BYTES ((size_t)2 * 4 * PATH_MAX + 1024)
#define NUMBER_MAX_BYTES 32 /* 20 digits, a newline, and then some */

/* A file read line by line. */
struct lines {
  int file;
  bool is_too_long; /* the line at `start` began before it and is to be left out */
  size_t start;     /* buffer[start .. end) has been read and not yet returned */
  size_t end;
  char buffer[LINE_MAX_BYTES + 1];
};

/* What is known of a hierarchy while it is looked for. */
struct hierarchy {
  struct ha_cgroup_place *place;
  bool is_member;      /* /proc/self/cgroup has a line for it, and this path in it: */
  char path[PATH_MAX]; /* with the innermost levels cut off should it be too long */
  unsigned rank;       /* of the mount in `place`: 0 none, else see rank_of */
};

/* The memory that ha_cgroup_find needs. */
struct search {
  const char *root;
  struct hierarchy v1, v2;
  struct lines lines;
};

/* Sets *is_short and returns -1 if the file may be there but what opening it takes is not. */
static int open_at(int directory, const char *path, int flags, bool *is_short) {
  int file = (int)syscall(SYS_openat, directory, path, flags | O_CLOEXEC);
  *is_short |= file < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
  return file;
}

static void close_file(int file) {
  if (file >= 0) {
    syscall(SYS_close, file);
  }
}

/* Bytes read; 0 at the end and on errors. */
static size_t read_some(int file, char *out, size_t size) {
  long count;
  do {
    count = syscall(SYS_read, file, out, size);
  } while (count == -1 && errno == EINTR);
  return count > 0 ? (size_t)count : 0;
}

/* False at the end of the file. */
static bool fill(struct lines *lines) {
  size_t kept = lines->end - lines->start;
  memmove(lines->buffer, lines->buffer + lines->start, kept);
  if (kept == LINE_MAX_BYTES) {
    lines->is_too_long = true;
    kept = 0;
  }
  size_t count = read_some(lines->file, lines->buffer + kept, LINE_MAX_BYTES - kept);
  lines->start = 0;
  lines->end = kept + count;
  return count > 0;
}

/* The next line that fits, without its newline, writable until the next call; NULL at the end. */
static char *next_line(struct lines *lines) {
  for (;;) {
    char *line = lines->buffer + lines->start;
    char *newline = memchr(line, '\n', lines->end - lines->start);
    if (newline == NULL && fill(lines)) {
      continue;
    }
    line = lines->buffer + lines->start;
    char *line_end = newline != NULL ? newline : lines->buffer + lines->end;
    bool is_whole = !lines->is_too_long && (newline != NULL || line_end > line);
    lines->is_too_long = false;
    lines->start = newline != NULL ? (size_t)(newline + 1 - lines->buffer) : lines->end;
    *line_end = '\0';
    if (is_whole) {
      return line;
    }
    if (newline == NULL) {
      return NULL;
    }
  }
}

static int open_proc(const char *root, const char *name, bool *is_short) {
  char path[256]; /* only the roots of tests could make it longer, and do not */
  ha_format(path, sizeof path, "%s/proc/self/%s", root, name);
  return open_at(AT_FDCWD, path, O_RDONLY, is_short);
}

/* Reads the file and closes it. */
static void for_each_line(struct search *search, int file, void (*use)(struct search *search, char *line)) {
  if (file < 0) {
    return;
  }
  struct lines *lines = &search->lines;
  lines->file = file;
  lines->start = lines->end = 0;
  lines->is_too_long = false;
  char *line;
  while ((line = next_line(lines)) != NULL) {
    use(search, line);
  }
  close_file(file);
}

/* Whether a comma-separated list has the item. */
static bool has_item(const char *list, const char *item) {
  size_t length = strlen(item);
  for (; list != NULL; list = strchr(list, ',')) {
    list += *list == ',';
    if (strncmp(list, item, length) == 0 && (list[length] == ',' || list[length] == '\0')) {
      return true;
    }
  }
  return false;
}

/* Copies as many levels of a path, from the left, as fit. size is at least 1. */
static void copy_levels(char *out, size_t size, const char *path) {
  size_t length = strnlen(path, size);
  if (length == size) {
    do {
      length--;
    } while (length > 0 && path[length] != '/');
  }
  memcpy(out, path, length);
  out[length] = '\0';
}

/* A line `id:controllers:path` of /proc/self/cgroup; version 2 has 0 and no controllers. */
static void use_cgroup_line(struct search *search, char *line) {
  const char *id = strsep(&line, ":");
  const char *controllers = strsep(&line, ":");
  if (line == NULL || *line != '/') {
    return;
  }
  bool is_v2 = strcmp(id, "0") == 0 && *controllers == '\0';
  if (is_v2 || has_item(controllers, "memory")) {
    struct hierarchy *hierarchy = is_v2 ? &search->v2 : &search->v1;
    hierarchy->is_member = true;
    copy_levels(hierarchy->path, sizeof hierarchy->path, line);
  }
}

static bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text) {
  char *out = text;
  while (*text != '\0') {
    if (text[0] == '\\' && is_octal(text[1]) && is_octal(text[2]) && is_octal(text[3])) {
      *out++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
      text += 4;
    } else {
      *out++ = *text++;
    }
  }
  *out = '\0';
}

/* The part of the process's path below the mount's root, without a slash in front; NULL if it is not below.
 * */
static const char *below_root(const char *path, const char *root) {
  size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
  if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0')) {
    return NULL;
  }
  return path + length + strspn(path + length, "/");
}

/* Number of components of a path; -1 if it has one that leads elsewhere. */
static int count_levels(const char *path) {
  int levels = 0;
  while (*(path += strspn(path, "/")) != '\0') {
    size_t length = strcspn(path, "/");
    if (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.'))) {
      return -1;
    }
    levels++;
    path += length;
  }
  return levels;
}

/* 1 for a mount that does not contain the process's cgroup, else more, and the more levels it shows the more.
 * */
static unsigned rank_of(const char *below) {
  int levels = below != NULL ? count_levels(below) : -1;
  return levels < 0 ? 1 : 2 + (unsigned)levels;
}

static void use_mount(struct search *search, struct hierarchy *hierarchy, const char *root,
                      const char *mount_point) {
  const char *below = below_root(hierarchy->path, root);
  unsigned rank = rank_of(below);
  if (!hierarchy->is_member || rank <= hierarchy->rank) {
    return;
  }
  struct ha_cgroup_place *place = hierarchy->place;
  size_t size = ha_format(NULL, 0, "%s%s", search->root, mount_point) + 1;
  if (size >= sizeof place->path) {
    return;
  }
  ha_format(place->path, size, "%s%s", search->root, mount_point);
  copy_levels(place->path + size, sizeof place->path - size, rank > 1 ? below : "");
  place->depth = (unsigned)count_levels(place->path + size);
  place->is_found = true;
  hierarchy->rank = rank;
}

/* `id parent device root mount_point options [more ...] - type source options`, see proc_pid_mountinfo(5). */
static void use_mount_line(struct search *search, char *line) {
  for (int i = 0; i < 3; i++) {
    strsep(&line, " ");
  }
  char *root = strsep(&line, " ");
  char *mount_point = strsep(&line, " ");
  const char *field;
  do {
    field = strsep(&line, " ");
  } while (field != NULL && strcmp(field, "-") != 0);
  const char *type = strsep(&line, " ");
  strsep(&line, " ");
  const char *options = strsep(&line, " ");
  if (type == NULL || *root != '/' || *mount_point != '/') {
    return;
  }
  unescape(root);
  unescape(mount_point);
  if (strcmp(type, "cgroup2") == 0) {
    use_mount(search, &search->v2, root, mount_point);
  } else if (strcmp(type, "cgroup") == 0 && options != NULL && has_item(options, "memory")) {
    use_mount(search, &search->v1, root, mount_point);
  }
}

static void find(struct ha_cgroup *cgroup, struct search *search, int cgroups, int mounts) {
  cgroup->v1.is_found = cgroup->v2.is_found = false;
  search->v1.place = &cgroup->v1;
  search->v2.place = &cgroup->v2;
  for_each_line(search, cgroups, use_cgroup_line);
  for_each_line(search, mounts, use_mount_line);
}

bool ha_cgroup_find(struct ha_cgroup *cgroup, const char *root) {
  int saved = errno;
  size_t size = ha_align_up(sizeof(struct search), HA_OS_PAGE);
  struct search *search = ha_os_map(size);
  bool is_short = search == NULL;
  if (search != NULL) {
    search->root = root;
    int cgroups = open_proc(root, "cgroup", &is_short);
    int mounts = open_proc(root, "mountinfo", &is_short);
    if (is_short) {
      close_file(cgroups);
      close_file(mounts);
    } else {
      find(cgroup, search, cgroups, mounts);
    }
    ha_os_unmap(search, size);
  }
  errno = saved;
  return !is_short;
}

/* Digits and a newline, and nothing else: "max" is no limit, and half a number would be a wrong one. */
static uint64_t parse_limit(const char *text, size_t length) {
  uint64_t number = 0;
  size_t i = 0;
  for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
    if (__builtin_mul_overflow(number, 10, &number) ||
        __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number)) {
      return UINT64_MAX;
    }
  }
  bool is_number = i > 0 && i + 1 == length && text[i] == '\n';
  return is_number && number < UNLIMITED ? number : UINT64_MAX;
}

/* A limit while it is put together. */
struct reading {
  uint64_t limit; /* the smallest so far */
  bool is_short;  /* something could not be opened that may have been smaller */
};

static void read_limit(struct reading *reading, int directory, const char *name) {
  int file = open_at(directory, name, O_RDONLY, &reading->is_short);
  if (file < 0) {
    return;
  }
  char text[NUMBER_MAX_BYTES];
  uint64_t limit = parse_limit(text, read_some(file, text, sizeof text));
  close_file(file);
  if (limit < reading->limit) {
    reading->limit = limit;
  }
}

static int open_directory(struct reading *reading, int directory, const char *path) {
  return open_at(directory, path, O_PATH | O_DIRECTORY, &reading->is_short);
}

/* Opens the process's cgroup and tells how many levels are above it; if it is gone, the mount. -1 without
 * either. */
static int open_place(struct reading *reading, const struct ha_cgroup_place *place, unsigned *above) {
  const char *mount_point = place->path;
  const char *below = mount_point + strlen(mount_point) + 1;
  int mount = open_directory(reading, AT_FDCWD, mount_point);
  *above = 0;
  if (mount < 0 || place->depth == 0) {
    return mount;
  }
  int directory = open_directory(reading, mount, below);
  if (directory < 0) {
    return mount;
  }
  close_file(mount);
  *above = place->depth;
  return directory;
}

/* Reads the files of these names (the second may be NULL) from the cgroup up to the mount. */
static void read_place(struct reading *reading, const struct ha_cgroup_place *place, const char *name,
                       const char *other_name) {
  unsigned above = 0;
  int directory = place->is_found ? open_place(reading, place, &above) : -1;
  while (directory >= 0) {
    read_limit(reading, directory, name);
    if (other_name != NULL) {
      read_limit(reading, directory, other_name);
    }
    int parent = above-- > 0 ? open_directory(reading, directory, "..") : -1;
    close_file(directory);
    directory = parent;
  }
}

uint64_t ha_cgroup_limit(const struct ha_cgroup *cgroup) {
  int saved = errno;
  struct reading reading = {UINT64_MAX, false};
  read_place(&reading, &cgroup->v1, "memory.limit_in_bytes", NULL);
  read_place(&reading, &cgroup->v2, "memory.max", "memory.high");
  errno = saved;
  return reading.is_short ? HA_CGROUP_UNKNOWN : reading.limit;
}

uint64_t ha_ram_bytes(void) {
  int saved = errno;
  struct sysinfo info;
  bool is_known = syscall(SYS_sysinfo, &info) == 0;
  errno = saved;
  return is_known ? (uint64_t)info.totalram * info.mem_unit : UINT64_MAX;
}
