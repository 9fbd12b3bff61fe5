/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a container's limit that is not found, so that the kernel kills the program
 * at it; a limit that is not there, so that memory is given back for nothing; a descriptor left open in every
 * program.
 *
 * Each test builds a machine of its own below a temporary folder: /proc/self/cgroup, /proc/self/mountinfo and
 * the files of the cgroups. The lines of the former are as real kernels write them. The trees of failed tests
 * stay for a look.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "tests/test.h"

#define MIB ((uint64_t)1 << 20)
#define NONE UINT64_MAX
#define MANY_FILES 64
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define OTHER_MOUNTS                                                                                         \
  "23 1 8:1 / / rw - ext4 /dev/sda1 rw\n"                                                                    \
  "24 23 0:5 / /proc rw,nosuid - proc proc rw\n"                                                             \
  "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,cpuset_memory\n"                          \
  "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=memory\n"

/* The machine of the test, which has a process of its own. */
static struct {
  char root[64];
  struct ha_cgroup cgroup;
} tree;

static void make_tree(void) {
  memset(&tree, 0x55, sizeof tree); /* found or not, nothing may depend on what was there */
  strcpy(tree.root, "/tmp/ha_cgroup_XXXXXX");
  CHECK(mkdtemp(tree.root) != NULL, "mkdtemp: %s", strerror(errno));
}

static int enter(int directory, const char *name) {
  CHECK(mkdirat(directory, name, 0755) == 0 || errno == EEXIST, "mkdir %.100s: %s", name, strerror(errno));
  int inner = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(inner >= 0, "open %.100s: %s", name, strerror(errno));
  close(directory);
  return inner;
}

/* Writes a file and makes the folders above it; paths may exceed PATH_MAX. */
static void put_bytes(const char *path, const void *bytes, size_t size) {
  int directory = open(tree.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char name[NAME_MAX + 1];
  for (const char *slash; (slash = strchr(++path, '/')) != NULL; path = slash) {
    memcpy(name, path, (size_t)(slash - path));
    name[slash - path] = '\0';
    directory = enter(directory, name);
  }
  int file = openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  CHECK(file >= 0 && write(file, bytes, size) == (ssize_t)size, "write %.100s: %s", path, strerror(errno));
  close(file);
  close(directory);
}

static void put(const char *path, const char *text) {
  put_bytes(path, text, strlen(text));
}

/* A machine on which the process is in these cgroups and sees these mounts. */
static void plant(const char *cgroups, const char *mounts) {
  make_tree();
  put("/proc/self/cgroup", cgroups);
  put("/proc/self/mountinfo", mounts);
}

static uint64_t find_limit(void) {
  CHECK(ha_cgroup_find(&tree.cgroup, tree.root), "it could not look");
  return ha_cgroup_limit(&tree.cgroup);
}

static void remove_content(int directory) {
  DIR *entries = fdopendir(directory);
  CHECK(entries != NULL, "fdopendir: %s", strerror(errno));
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
      continue;
    }
    int inner = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner >= 0) {
      remove_content(inner);
    }
    CHECK(unlinkat(directory, entry->d_name, inner >= 0 ? AT_REMOVEDIR : 0) == 0, "%.100s stays: %s",
          entry->d_name, strerror(errno));
  }
  closedir(entries);
}

static void uproot(void) {
  remove_content(open(tree.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CHECK(rmdir(tree.root) == 0, "%s stays: %s", tree.root, strerror(errno));
}

/* Writes a file, then finds and reads. */
static void put_and_check(const char *path, const char *text, uint64_t limit) {
  put(path, text);
  uint64_t actual = find_limit();
  CHECK(actual == limit, "\"%.200s\" in %.200s gives %llu, not %llu", text, path, (unsigned long long)actual,
        (unsigned long long)limit);
}

/* One after the other, all of which give the same limit. */
static void check_each(const char *path, const char *const *texts, size_t count, uint64_t limit) {
  for (size_t i = 0; i < count; i++) {
    put_and_check(path, texts[i], limit);
  }
}
#define CHECK_EACH(path, texts, limit) check_each(path, texts, sizeof(texts) / sizeof *(texts), limit)

TEST(version_2) {
  plant("0::/system.slice/app.service\n", OTHER_MOUNTS V2_MOUNT);
  put("/sys/fs/cgroup/system.slice/app.service/memory.max", "314572800\n");
  put("/sys/fs/cgroup/system.slice/app.service/memory.high", "max\n");
  put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
  put_and_check("/sys/fs/cgroup/system.slice/memory.high", "max\n", 300 * MIB);
  uproot();
}

TEST(the_smallest_of_all_levels_counts) {
  plant("0::/a/b/c/d\n", V2_MOUNT);
  put("/sys/fs/cgroup/a/b/c/d/memory.max", "8388608\n");
  put("/sys/fs/cgroup/a/b/c/d/other/memory.max", "1\n"); /* a child's is not ours */
  put("/sys/fs/cgroup/a/b/other/memory.max", "2\n");
  put("/sys/fs/memory.max", "3\n"); /* above the mount */
  CHECK_EQ(find_limit(), 8 * MIB);
  put("/sys/fs/cgroup/a/b/c/memory.max", "7340032\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 7 * MIB);
  put("/sys/fs/cgroup/a/b/memory.max", "6291456\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 6 * MIB);
  put("/sys/fs/cgroup/a/memory.max", "5242880\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 5 * MIB);
  put("/sys/fs/cgroup/memory.max", "4194304\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 4 * MIB);
  uproot();
}

TEST(high_and_max_both_count) {
  plant("0::/app\n", V2_MOUNT);
  put("/sys/fs/cgroup/app/memory.max", "20971520\n");
  put_and_check("/sys/fs/cgroup/app/memory.high", "10485760\n", 10 * MIB);
  put("/sys/fs/cgroup/app/memory.max", "5242880\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 5 * MIB);
  put("/sys/fs/cgroup/app/memory.max", "max\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 10 * MIB);
  uproot();
}

TEST(limits_are_read_anew) {
  plant("0::/app\n", V2_MOUNT);
  CHECK_EQ(find_limit(), NONE);
  static const struct {
    const char *text;
    uint64_t limit;
  } steps[] = {{"1048576\n", MIB}, {"0\n", 0}, {"2097152\n", 2 * MIB}, {"max\n", NONE}, {"4096\n", 4096}};
  for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
    put("/sys/fs/cgroup/app/memory.max", steps[i].text);
    CHECK_EQ(ha_cgroup_limit(&tree.cgroup), steps[i].limit);
  }
  uproot();
}

/* A container with a cgroup namespace: its own cgroup is "/" and is what is mounted. */
TEST(version_2_in_a_namespace) {
  plant("0::/\n", V2_MOUNT);
  put_and_check("/sys/fs/cgroup/memory.max", "314572800\n", 300 * MIB);
  uproot();
}

/* Processes outside the reader's namespace; walking ".." would leave the mount and read a stranger's file. */
TEST(paths_that_leave_the_namespace_mean_the_mount) {
  static const char *const paths[] = {"0::/../x\n", "0::/..\n", "0::/../../x/y\n", "0::/x/../../..\n",
                                      "0::/./x\n"};
  plant("", V2_MOUNT);
  put("/sys/fs/x/memory.max", "1\n");
  put("/sys/fs/memory.max", "2\n");
  put("/sys/fs/cgroup/x/memory.max", "3\n");
  put("/sys/fs/cgroup/memory.max", "314572800\n");
  CHECK_EACH("/proc/self/cgroup", paths, 300 * MIB);
  uproot();
}

/* The mount was made outside the namespace, so its root is as far outside as the path. */
TEST(a_mount_whose_root_is_outside_the_namespace) {
  plant("0::/../x/y\n", "30 23 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("/sys/fs/cgroup/x/memory.max", "314572800\n");
  put_and_check("/sys/fs/cgroup/x/y/memory.max", "max\n", 300 * MIB);
  put("/proc/self/cgroup", "0::/z\n");
  put("/sys/fs/cgroup/z/memory.max", "1\n"); /* not ours: our z is in a cgroup whose name is hidden */
  CHECK_EQ(find_limit(), NONE);
  uproot();
}

TEST(a_mount_of_the_containers_own_cgroup) {
  plant("0::/docker/abc/worker\n", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  put("/sys/fs/cgroup/memory.max", "314572800\n");
  put("/sys/fs/cgroup/worker/memory.max", "209715200\n");
  put_and_check("/sys/fs/cgroup/docker/abc/worker/memory.max", "1\n", 200 * MIB);
  put_and_check("/proc/self/cgroup", "0::/docker/abc\n", 300 * MIB);
  uproot();
}

/* A root that is a prefix of the path as text, but not as folders; and one that has nothing to do with it. */
TEST(a_mount_that_does_not_contain_the_cgroup_stands_for_it) {
  plant("0::/docker/abcd\n", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  put("/sys/fs/cgroup/memory.max", "314572800\n");
  put("/sys/fs/cgroup/d/memory.max", "1\n");
  put_and_check("/sys/fs/cgroup/abcd/memory.max", "2\n", 300 * MIB);
  put_and_check("/proc/self/cgroup", "0::/\n", 300 * MIB);
  put_and_check("/proc/self/cgroup", "0::/kubepods/pod1\n", 300 * MIB);
  uproot();
}

TEST(a_cgroup_that_is_not_there_stands_for_its_mount) {
  plant("0::/gone/app (deleted)\n", V2_MOUNT);
  put_and_check("/sys/fs/cgroup/memory.max", "314572800\n", 300 * MIB);
  uproot();
}

TEST(of_several_mounts_the_one_with_most_ancestors_counts) {
  plant("0::/pod/app\n", "29 23 0:26 /elsewhere /a rw - cgroup2 cgroup2 rw\n"
                         "30 23 0:26 /pod/app /b rw - cgroup2 cgroup2 rw\n"
                         "31 23 0:26 / /c rw - cgroup2 cgroup2 rw\n"
                         "32 23 0:26 /pod /d rw - cgroup2 cgroup2 rw\n"
                         "33 23 0:26 /elsewhere /e rw - cgroup2 cgroup2 rw\n");
  put("/a/memory.max", "1\n");
  put("/b/memory.max", "2\n");
  put("/c/pod/app/memory.max", "max\n");
  put("/c/pod/memory.max", "314572800\n");
  put("/d/memory.max", "3\n");
  put_and_check("/e/memory.max", "4\n", 300 * MIB);
  uproot();
}

TEST(version_1) {
  plant("5:cpuset:/wrong\n4:memory:/job/step\n1:name=memory:/wrong\n", OTHER_MOUNTS V1_MOUNT);
  put("/sys/fs/cgroup/memory/job/step/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "314572800\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/wrong/memory.limit_in_bytes", "1\n");
  put("/sys/fs/cgroup/cpuset/wrong/memory.limit_in_bytes", "2\n");
  put("/sys/fs/cgroup/systemd/wrong/memory.limit_in_bytes", "3\n");
  put("/sys/fs/cgroup/memory/job/memory.max", "4\n"); /* a file of the other version */
  CHECK_EQ(find_limit(), 300 * MIB);
  uproot();
}

/* A hierarchy with these controllers, in /proc/self/cgroup and then among the mounts. */
static void check_controllers(const char *list, uint64_t limit) {
  char line[128];
  snprintf(line, sizeof line, "4:%s:/job\n", list);
  put("/proc/self/mountinfo", "35 31 0:32 / /cg rw - cgroup cgroup rw,cpu,memory\n");
  put_and_check("/proc/self/cgroup", line, limit);
  snprintf(line, sizeof line, "35 31 0:32 / /cg rw - cgroup cgroup rw,%s\n", list);
  put("/proc/self/cgroup", "4:memory:/job\n");
  put_and_check("/proc/self/mountinfo", line, limit);
}

/* A name that only begins or ends like the controller's is another one. */
TEST(version_1_with_several_controllers_in_one_hierarchy) {
  static const char *const lists[] = {"memory", "cpu,memory", "memory,cpu", "cpu,memory,pids"};
  static const char *const strange[] = {"memory2", "xmemory", "cpu,memoryx", "memor", "name=memory", ""};
  plant("", "");
  put("/cg/job/memory.limit_in_bytes", "314572800\n");
  for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
    check_controllers(lists[i], 300 * MIB);
  }
  for (unsigned i = 0; i < sizeof strange / sizeof *strange; i++) {
    check_controllers(strange[i], NONE);
  }
  uproot();
}

TEST(version_1_in_a_container) {
  plant("4:memory:/docker/abc\n",
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro master:11 - cgroup cgroup rw,memory\n");
  put_and_check("/sys/fs/cgroup/memory/memory.limit_in_bytes", "314572800\n", 300 * MIB);
  uproot();
}

TEST(hybrid_mounts_are_both_read) {
  plant("4:memory:/job\n0::/app\n",
        OTHER_MOUNTS V1_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  put("/sys/fs/cgroup/unified/app/cgroup.procs", "1\n");
  put_and_check("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "314572800\n", 300 * MIB);
  put("/sys/fs/cgroup/unified/app/memory.max", "209715200\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 200 * MIB);
  uproot();
}

/* The line of a hierarchy that has no mount, and the mount of one that the process is not in. */
TEST(one_half_of_a_hierarchy_is_none) {
  plant("4:memory:/\n", V2_MOUNT);
  put("/sys/fs/cgroup/memory.max", "1\n");
  put_and_check("/sys/fs/cgroup/memory.limit_in_bytes", "2\n", NONE);
  put("/proc/self/cgroup", "0::/\n");
  put_and_check("/proc/self/mountinfo", V1_MOUNT, NONE);
  uproot();
}

TEST(huge_numbers_are_no_limit) {
  static const char *const texts[] = {"9223372036854771712\n",
                                      "9223372036854775807\n",
                                      "18446744073709551615\n",
                                      "18446744073709551616\n",
                                      "20000000000000000000\n", /* modulo 2^64 a sensible number */
                                      "99999999999999999999999999999999999999999\n"};
  plant("4:memory:/\n0::/\n", V1_MOUNT V2_MOUNT);
  CHECK_EACH("/sys/fs/cgroup/memory/memory.limit_in_bytes", texts, NONE);
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854767616\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), (uint64_t)9223372036854767616u);
  uproot();
}

/* Half a number would be far too small a limit, and make a program give back all it has. */
TEST(what_is_not_a_number_is_no_limit) {
  static const char *const texts[] = {"",       "\n",     "3145728",  "31 ",   " 31\n", "31 \n", "-1\n",
                                      "0x10\n", "31\n\n", "31\n31\n", "31k\n", "m",     "max",   "maximal\n",
                                      "3.1\n",  "+31\n",  "31\r\n",   "\xff",  "/",     ":\n",   "31,31\n"};
  static const char *const long_texts[] = {"00000000000000000000000000000031",
                                           "000000000000000000000000000000000000031\n"};
  plant("0::/app\n", V2_MOUNT);
  CHECK_EACH("/sys/fs/cgroup/app/memory.max", texts, NONE);
  CHECK_EACH("/sys/fs/cgroup/app/memory.max", long_texts, NONE);
  put_bytes("/sys/fs/cgroup/app/memory.max", "31\0\n", 4);
  CHECK_EQ(find_limit(), NONE);
  uproot();
}

TEST(escapes_in_mountinfo_are_undone) {
  plant("0::/my slice/tab\there/back\\slash:colon\n",
        "30 23 0:26 /my\\040slice /mnt/c\\040g\\134040\\011 rw - cgroup2 cgroup2 rw\n");
  put_and_check("/mnt/c g\\040\t/tab\there/back\\slash:colon/memory.max", "314572800\n", 300 * MIB);
  put("/proc/self/mountinfo", "30 23 0:26 /my\\040slice /mnt/\\04 rw - cgroup2 cgroup2 rw\n");
  /* Not an escape; and as there is no such cgroup below, the mount stands for it. */
  put("/mnt/\\04/memory.max", "1\n");
  CHECK_EQ(find_limit(), (uint64_t)1);
  uproot();
}

TEST(optional_fields_of_mountinfo_are_skipped) {
  static const char *const lines[] = {
      "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
      "30 23 0:26 / /cg rw shared:1 - cgroup2 cgroup2 rw\n",
      "30 23 0:26 / /cg rw shared:1 master:2 propagate_from:3 unbindable - cgroup2 none rw\n",
      "30 23 0:26 / /cg rw - cgroup2  rw\n",      /* the source may be empty */
      "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw", /* no newline at the end */
      "30 23 0:26 / /cg rw - cgroup2",            /* all that is needed is there */
      "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw,a,b c\n"};
  plant("0::/", "");
  put("/cg/memory.max", "314572800\n");
  CHECK_EACH("/proc/self/mountinfo", lines, 300 * MIB);
  uproot();
}

TEST(garbage_finds_nothing) {
  static const char *const mounts[] = {"",
                                       "\n",
                                       "\n\n\n",
                                       " ",
                                       "          \n",
                                       "30\n",
                                       "30 23 0:26 /\n",
                                       "30 23 0:26 / /cg rw - \n",
                                       "30 23 0:26 / /cg rw cgroup2 cgroup2 rw\n",
                                       "30 23 0:26 / /cg rw -\n",
                                       "30 23 0:26 / cg rw - cgroup2 cgroup2 rw\n",
                                       "30 23 0:26 cg /cg rw - cgroup2 cgroup2 rw\n",
                                       "30 23 0:26   rw - cgroup2 cgroup2 rw\n",
                                       "30 23 0:26 / /cg rw - cgroup2x cgroup2 rw\n",
                                       "\xff\xfe\xfd - - - - -\n"};
  static const char *const cgroups[] = {"",       "\n",  ":",     "::",     ":::\n",     "0:",   "0::\n",
                                        "0::x\n", "0\n", "::/\n", "1::/\n", "0:cpu:/\n", "0/\n", "\xff\n"};
  plant("0::/\n", "");
  put("/cg/memory.max", "314572800\n");
  CHECK_EACH("/proc/self/mountinfo", mounts, NONE);
  put("/proc/self/mountinfo", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
  CHECK_EACH("/proc/self/cgroup", cgroups, NONE);
  uproot();
}

/* Bytes from a generator, with the separators more often than chance would have them: no crash, no endless
 * loop. */
TEST(random_bytes_do_no_harm) {
  static const char often[] = " :/-,\n\\.0 cgroup2";
  static char noise[100000];
  uint64_t state = 20261121;
  plant("", "");
  test_note("seed %llu", (unsigned long long)state);
  for (unsigned round = 0; round < 200; round++) {
    size_t size = test_random(&state) % (round % 10 == 0 ? sizeof noise : 300);
    for (size_t i = 0; i < size; i++) {
      uint64_t random = test_random(&state);
      noise[i] = random % 2 == 0 ? often[random / 2 % (sizeof often - 1)] : (char)(random >> 8);
    }
    put_bytes(round % 2 == 0 ? "/proc/self/cgroup" : "/proc/self/mountinfo", noise, size);
    find_limit();
  }
  uproot();
}

TEST(missing_files_are_no_limit) {
  make_tree();
  CHECK_EQ(find_limit(), NONE); /* no /proc */
  put("/proc/self/mountinfo", V2_MOUNT);
  put_and_check("/sys/fs/cgroup/memory.max", "1\n", NONE); /* no cgroup in the kernel */
  uproot();
  plant("0::/a/b\n", V2_MOUNT);
  CHECK_EQ(find_limit(), NONE);                                            /* nothing is there */
  put_and_check("/sys/fs/cgroup/a/b/memory.max/folder", "", NONE);         /* a folder of that name */
  put_and_check("/sys/fs/cgroup/a/memory.high", "314572800\n", 300 * MIB); /* only one of all files */
  uproot();
}

/* The kernel's file is as long as the mounts are many: the line that matters may be anywhere in it. */
TEST(long_files_and_long_lines) {
  static char mounts[400000];
  static const char line[] = "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n";
  plant("0::/app\n", "");
  put("/cg/app/memory.max", "314572800\n");
  static const size_t paddings[] = {1,     1000,  33000, 33700, 33790,  33791,
                                    33792, 33793, 33794, 40000, 100000, 300000};
  for (unsigned i = 0; i < sizeof paddings / sizeof *paddings; i++) {
    memset(mounts, 'x', paddings[i]); /* one line of that length in front, and one behind */
    mounts[paddings[i]] = '\n';
    memcpy(mounts + paddings[i] + 1, line, sizeof line - 1);
    size_t size = paddings[i] + sizeof line;
    memset(mounts + size, 'y', 40000);
    put_bytes("/proc/self/mountinfo", mounts, size + 40000);
    CHECK_EQ(find_limit(), 300 * MIB);
    mounts[paddings[i]] = ' '; /* now it is the end of a line, and must not pass for one */
    put_bytes("/proc/self/mountinfo", mounts, size);
    CHECK_EQ(find_limit(), NONE);
  }
  size_t size = 0;
  while (size < sizeof mounts - 200) {
    size += (size_t)sprintf(mounts + size, "%zu 23 0:26 / /mnt/%zu rw - overlay overlay rw\n", size, size);
  }
  memcpy(mounts + size, line, sizeof line - 1);
  put_bytes("/proc/self/mountinfo", mounts, size + sizeof line - 1);
  CHECK_EQ(find_limit(), 300 * MIB);
  uproot();
}

/* Folders with names of 200 bytes: `levels` of them. */
static char *deep_path(char *out, const char *start, unsigned levels, const char *end) {
  char *next = stpcpy(out, start);
  for (unsigned i = 0; i < levels; i++) {
    *next++ = '/';
    memset(next, 'a' + (int)i % 26, 200);
    next += 200;
  }
  strcpy(next, end);
  return out;
}

/* 30 levels are 6030 bytes. Those that fit still count: the innermost of them has the smallest limit of all
 * here. */
TEST(too_long_a_path_loses_its_innermost_levels_only) {
  static char cgroups[10000];
  static char path[10000];
  plant(deep_path(cgroups, "0::", 30, "\n"), V2_MOUNT);
  put(deep_path(path, "/sys/fs/cgroup", 30, "/memory.max"), "1\n");
  put(deep_path(path, "/sys/fs/cgroup", 21, "/memory.max"), "2\n");
  put(deep_path(path, "/sys/fs/cgroup", 20, "/memory.max"), "max\n");
  put_and_check(deep_path(path, "/sys/fs/cgroup", 2, "/memory.max"), "314572800\n", 300 * MIB);
  put_and_check(deep_path(path, "/sys/fs/cgroup", 20, "/memory.max"), "209715200\n", 200 * MIB);
  uproot();
}

/* A mount point of 4020 bytes leaves no room for a level of 200: the mount itself remains. */
TEST(long_mount_points) {
  static char mounts[20000];
  static char path[20000];
  plant(deep_path(path, "0::", 1, "\n"), "");
  char *next = stpcpy(mounts, "30 23 0:26 / ");
  deep_path(next, "", 20, " rw - cgroup2 cgroup2 rw\n");
  put("/proc/self/mountinfo", mounts);
  put(deep_path(path, "", 20, "/memory.max"), "314572800\n");
  put_and_check(deep_path(path, "", 21, "/memory.max"), "1\n", 300 * MIB);
  deep_path(next, "", 21, " rw - cgroup2 cgroup2 rw\n"); /* longer than any path can be: no mount at all */
  put_and_check("/proc/self/mountinfo", mounts, NONE);
  strcat(mounts, V2_MOUNT);
  put("/proc/self/mountinfo", mounts);
  put_and_check("/sys/fs/cgroup/memory.max", "209715200\n", 200 * MIB);
  uproot();
}

/* Every byte escaped: four times as long in mountinfo. */
TEST(the_longest_line_fits) {
  static char mounts[40000];
  static char path[10000];
  plant("", "");
  char *next = stpcpy(mounts, "30 23 0:26 ");
  char *root = stpcpy(path, "0::");
  for (unsigned i = 0; i < PATH_MAX - 1; i++) {
    bool is_slash = i % 200 == 0;
    *root++ = is_slash ? '/' : ' ';
    next = stpcpy(next, is_slash ? "/" : "\\040");
  }
  strcpy(root, "\n");
  strcpy(next, " /cg rw - cgroup2 cgroup2 rw\n");
  put("/proc/self/cgroup", path);
  put("/proc/self/mountinfo", mounts);
  put_and_check("/cg/memory.max", "314572800\n", 300 * MIB);
  uproot();
}

/* A process that was moved, and whose old cgroup was removed: only what surely still counts is left, until it
 * is found again. */
TEST(finding_again_follows_a_move) {
  plant("0::/old\n", V2_MOUNT);
  put("/sys/fs/cgroup/memory.max", "314572800\n");
  put_and_check("/sys/fs/cgroup/new/memory.max", "209715200\n", 300 * MIB);
  put("/proc/self/cgroup", "0::/new\n");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), 300 * MIB);
  CHECK_EQ(find_limit(), 200 * MIB);
  put_and_check("/proc/self/cgroup", "", NONE);
  uproot();
}

static int lowest_free_descriptor(void) {
  int file = dup(STDOUT_FILENO);
  close(file);
  return file;
}

TEST(errno_and_descriptors_stay) {
  plant("4:memory:/job\n0::/a/b/c\n", V1_MOUNT V2_MOUNT);
  put("/sys/fs/cgroup/a/b/c/memory.max", "1048576\n");
  int before = lowest_free_descriptor();
  errno = ENOTTY;
  for (unsigned i = 0; i < 3; i++) {
    CHECK_EQ(find_limit(), MIB);
  }
  CHECK(ha_cgroup_find(&tree.cgroup, "/nonexistent"), "it could not look");
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), NONE);
  CHECK(ha_ram_bytes() > 0, "no memory");
  CHECK_EQ(errno, ENOTTY);
  CHECK_EQ(lowest_free_descriptor(), before);
  uproot();
}

/* Out of descriptors, as a busy server may be: were that "no limit", its limit would come and go. */
TEST(without_descriptors_the_answer_is_unknown_not_none) {
  plant("0::/a\n", V2_MOUNT);
  put("/sys/fs/cgroup/a/memory.max", "1048576\n");
  put_and_check("/sys/fs/cgroup/memory.max", "2097152\n", MIB);
  struct rlimit few = {MANY_FILES, MANY_FILES};
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  int files[MANY_FILES];
  unsigned count = 0;
  while ((files[count] = open("/dev/null", O_RDONLY)) >= 0) {
    count++;
  }
  for (unsigned spare = 0; spare < 2; spare++) {
    CHECK_EQ(ha_cgroup_limit(&tree.cgroup), HA_CGROUP_UNKNOWN);
    CHECK(!ha_cgroup_find(&tree.cgroup, tree.root), "it could look with %u descriptors", spare);
    CHECK(tree.cgroup.v2.is_found, "what was found is forgotten");
    close(files[--count]);
  }
  CHECK_EQ(ha_cgroup_limit(&tree.cgroup), MIB);
  CHECK_EQ(find_limit(), MIB);
  CHECK_EQ(lowest_free_descriptor(), files[count]);
  while (count > 0) {
    close(files[--count]);
  }
  uproot();
}

TEST(memory_of_the_machine_is_that_of_meminfo) {
  char text[256] = "";
  int file = open("/proc/meminfo", O_RDONLY);
  CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0, "no /proc/meminfo");
  unsigned long long kib = 0;
  CHECK(sscanf(text, "MemTotal: %llu kB", &kib) == 1, "\"%s\"", text);
  CHECK_EQ(ha_ram_bytes(), (uint64_t)kib * 1024);
}

/* Whatever this machine is, its own files are read to the end. */
TEST(this_machine_answers) {
  static struct ha_cgroup cgroup;
  CHECK(ha_cgroup_find(&cgroup, ""), "it could not look");
  uint64_t limit = ha_cgroup_limit(&cgroup);
  test_note("v1 %s, v2 %s, limit %llu", cgroup.v1.is_found ? cgroup.v1.path : "-",
            cgroup.v2.is_found ? cgroup.v2.path : "-", (unsigned long long)limit);
}
