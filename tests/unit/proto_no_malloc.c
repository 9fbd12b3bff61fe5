/* SPDX-License-Identifier: MIT */
/*
 * Encodes a large profile, 100,000 stacks of 30 frames, while malloc and its kin are watched.
 *
 * What could break a user here: an encoder that allocates from the heap it describes (it would change the
 * numbers, and deadlock inside a lock of the allocator), takes seconds, or leaves its scratch memory behind.
 * The program defines the C library's allocation functions itself, so it cannot run under a sanitizer that
 * does too.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/compiler.h"
#include "proto/builder.h"
#include "proto/sites.h"
#include "proto/text.h"

#define STACKS 100000
#define FRAMES 30
/* Return addresses in the C library: this many different ones, so far apart. */
#define CODE_PLACES 65536
#define CODE_STEP 16
/* Generous: each form took 0.6 s on a virtual machine with two cores. */
#define SECONDS_MAX 10
#define RESIDENT_LEFT_MAX_KIB (8 * 1024)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

static bool is_watching;
static int calls;

static void count_call(void) {
  calls += is_watching ? 1 : 0;
}

void *malloc(size_t size) {
  count_call();
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  count_call();
  return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
  count_call();
  return __libc_realloc(block, size);
}

void free(void *block) {
  count_call();
  __libc_free(block);
}

static uintptr_t stacks[STACKS][FRAMES];

static void fill_stacks(void) {
  unsigned seed = 1;
  uintptr_t code = (uintptr_t)qsort;
  for (size_t i = 0; i < STACKS; i++) {
    for (size_t k = 0; k < FRAMES; k++) {
      stacks[i][k] = code + (unsigned)rand_r(&seed) % CODE_PLACES * CODE_STEP;
    }
  }
}

static void visit_rows(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  (void)profile;
  for (size_t i = 0; i < STACKS; i++) {
    int64_t n = (int64_t)i + 1;
    struct ha_row row = {.frames = stacks[i], .frame_count = FRAMES, .block_size = 64};
    row.values[0] = row.values[2] = row.sampled[0] = row.sampled[2] = n;
    row.values[1] = row.values[3] = row.sampled[1] = row.sampled[3] = n * 64;
    fn(&row, arg);
  }
}

static const struct ha_profile profile = {
    .types = {{"alloc_objects", "count"},
              {"alloc_space", "bytes"},
              {"inuse_objects", "count"},
              {"inuse_space", "bytes"}},
    .type_count = 4,
    .period_type = {"space", "bytes"},
    .period = 1,
    .has_sampled = true,
    .visit = visit_rows,
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static long resident_kib(void) {
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) {
    pages = 0;
  }
  if (file != NULL) {
    fclose(file);
  }
  return pages * 4;
}

typedef int encode_fn(const struct ha_profile *, struct ha_scratch *, struct ha_blob *);

static int try_encoder(const char *name, encode_fn *encode) {
  struct ha_blob blob = {0};
  long before = resident_kib();
  double start = now();
  is_watching = true;
  struct ha_scratch *scratch = ha_scratch_new();
  int error = encode(&profile, scratch, &blob);
  is_watching = false;
  long during = resident_kib();
  is_watching = true;
  ha_scratch_destroy(scratch);
  is_watching = false;
  double seconds = now() - start;
  long left = resident_kib() - before;
  printf("%s: error %d, %zu bytes, %.2f s, %ld KiB during, %ld KiB left, %d calls of malloc\n", name, error,
         blob.size, seconds, during - before, left, calls);
  return error == 0 && calls == 0 && seconds < SECONDS_MAX && left < RESIDENT_LEFT_MAX_KIB ? 0 : 1;
}

int main(void) {
  fill_stacks();
  int failures = try_encoder("protobuf", ha_proto_encode);
  failures += try_encoder("text", ha_text_encode);
  failures += try_encoder("sites", ha_sites_encode);
  failures += try_encoder("protobuf again", ha_proto_encode);
  return failures == 0 ? 0 : 1;
}
