/* SPDX-License-Identifier: MIT */
/*
 * A reader of pprof profiles that shares nothing with the library's writer: gzip by zlib, the few protobuf
 * fields that carry values by hand (profile.proto: Profile.sample = 2, Sample.value = 2, packed).
 */
#include "tests/api/hp.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define WIRE_VARINT 0
#define WIRE_64 1
#define WIRE_LENGTH 2
#define WIRE_32 5
#define PLAIN_FACTOR 64
#define POOL_SIZE ((size_t)1 << 20)

static void *find(const char *name) {
  void *function = dlsym(RTLD_DEFAULT, name);
  CHECK(function != NULL, "%s is not in this process", name);
  return function;
}

bool hp_is_here(void) {
  return dlsym(RTLD_DEFAULT, "hp_memstats_read") != NULL;
}

struct hp_memstats hp_stats(void) {
  static int (*read_stats)(struct hp_memstats *, size_t);
  if (read_stats == NULL) {
    *(void **)&read_stats = find("hp_memstats_read");
  }
  struct hp_memstats stats;
  CHECK_EQ(read_stats(&stats, sizeof stats), 0);
  return stats;
}

int64_t hp_rate(int64_t rate) {
  int64_t (*set)(int64_t);
  *(void **)&set = find("hp_set_mem_profile_rate");
  return set(rate);
}

int hp_profile(const char *name, int fd, int debug) {
  int (*write_profile)(const char *, int, int);
  *(void **)&write_profile = find("hp_write_profile");
  return write_profile(name, fd, debug);
}

/* Own mappings, so that reading a profile does not allocate from the heap it describes. */
static unsigned char *map(size_t size) {
  unsigned char *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(start != MAP_FAILED, "no memory for the test");
  return start;
}

static unsigned char *write_and_read(int debug, size_t *size) {
  int fd = memfd_create("profile", MFD_CLOEXEC);
  CHECK(fd >= 0, "memfd_create: %s", strerror(errno));
  CHECK_EQ(hp_profile("heap", fd, debug), 0);
  *size = (size_t)lseek(fd, 0, SEEK_END);
  unsigned char *data = map(*size + 1);
  CHECK(pread(fd, data, *size, 0) == (ssize_t)*size, "the profile cannot be read back");
  close(fd);
  return data;
}

static uint64_t take_varint(const unsigned char **at, const unsigned char *end) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    CHECK(*at < end, "the profile is cut short");
    unsigned char byte = *(*at)++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) {
      return value;
    }
  }
  test_fail(__FILE__, __LINE__, "a number of the profile is too long");
}

/* Steps over one field; for one with a length, `field` is its content. Returns the field number. */
static uint64_t take_field(const unsigned char **at, const unsigned char *end, const unsigned char **field,
                           size_t *length) {
  uint64_t key = take_varint(at, end);
  *field = *at;
  *length = 0;
  switch (key & 7) {
  case WIRE_VARINT:
    take_varint(at, end);
    break;
  case WIRE_64:
    *at += 8;
    break;
  case WIRE_32:
    *at += 4;
    break;
  default:
    CHECK_EQ(key & 7, (uint64_t)WIRE_LENGTH);
    *length = take_varint(at, end);
    *field = *at;
    *at += *length;
  }
  CHECK(*at <= end, "a field of the profile reaches beyond its end");
  return key >> 3;
}

static void add_sample(const unsigned char *at, const unsigned char *end, int64_t *sums) {
  while (at < end) {
    const unsigned char *field;
    size_t length;
    if (take_field(&at, end, &field, &length) == 2) {
      for (int i = 0; i < VALUES; i++) {
        sums[i] += (int64_t)take_varint(&field, at);
      }
      CHECK_EQ((const void *)field, (const void *)at);
    }
  }
}

/* zlib's memory, which would otherwise be malloc'd between two readings. */
static void *pool_alloc(void *pool, unsigned count, unsigned size) {
  unsigned char **next = pool;
  unsigned char *piece = *next;
  *next += ((size_t)count * size + 63) / 64 * 64;
  return piece;
}

static void pool_free(void *pool, void *piece) {
  (void)pool;
  (void)piece;
}

static void add_protobuf(int64_t *sums) {
  size_t size;
  unsigned char *data = write_and_read(0, &size);
  size_t room = size * PLAIN_FACTOR + 65536;
  unsigned char *plain = map(room);
  unsigned char *pool = map(POOL_SIZE);
  unsigned char *next = pool;
  z_stream stream = {.next_in = data,
                     .avail_in = (uInt)size,
                     .next_out = plain,
                     .avail_out = (uInt)room,
                     .zalloc = pool_alloc,
                     .zfree = pool_free,
                     .opaque = &next};
  CHECK_EQ(inflateInit2(&stream, 16 + MAX_WBITS), Z_OK);
  CHECK_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  const unsigned char *at = plain;
  const unsigned char *end = plain + stream.total_out;
  inflateEnd(&stream);
  while (at < end) {
    const unsigned char *field;
    size_t length;
    if (take_field(&at, end, &field, &length) == 2) {
      add_sample(field, field + length, sums);
    }
  }
  munmap(data, size + 1);
  munmap(plain, room);
  munmap(pool, POOL_SIZE);
}

/* The text's first line: "heap profile: inuse: bytes [alloc: bytes] @". When the two byte totals are equal
 * the second is written one too large, as in Go: pprof would otherwise take it for a profile without
 * allocations. */
static void read_text(int64_t *sums) {
  size_t size;
  unsigned char *data = write_and_read(1, &size);
  long long inuse, inuse_bytes, alloc, alloc_bytes;
  int count = sscanf((char *)data, "heap profile: %lld: %lld [%lld: %lld] @", &inuse, &inuse_bytes, &alloc,
                     &alloc_bytes);
  CHECK(count == 4, "the text starts with %.60s", (char *)data);
  sums[ALLOC_OBJECTS] = alloc;
  sums[ALLOC_SPACE] = alloc_bytes - (inuse == alloc && alloc_bytes == inuse_bytes + 1);
  sums[INUSE_OBJECTS] = inuse;
  sums[INUSE_SPACE] = inuse_bytes;
  munmap(data, size + 1);
}

struct profile_sums profile_sums(void) {
  struct profile_sums sums;
  memset(&sums, 0, sizeof sums);
  read_text(sums.sampled);
  add_protobuf(sums.values);
  return sums;
}

size_t resident(void) {
  char text[128] = "";
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  ssize_t count = read(fd, text, sizeof text - 1);
  close(fd);
  CHECK(count > 0, "no /proc");
  return strtoul(strchr(text, ' '), NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}
