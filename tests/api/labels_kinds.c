/* SPDX-License-Identifier: MIT */
/*
 * 40 labelled kinds of requests on 8 threads, which keeps count of what each kind allocated and still holds;
 * for labels.py.
 *
 * labels_kinds load PROFILE REQUESTS       every request allocates some blocks and frees blocks of other
 * kinds labels_kinds switches PROFILE SWITCHES   10^7 times and more from one set to another, with few
 * allocations between
 *
 * Writes a heap profile and prints a line for each kind: KIND alloc_objects alloc_space inuse_objects
 * inuse_space, then the expected number of samples and the variance of the estimates, in the same order
 */
#include "tests/api/labels.h"

#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 8
#define KINDS 40
#define SLOTS 65536
#define SEED 20261121

/* What one kind allocated, or freed. */
struct counts {
  int64_t objects, bytes;
  double samples, object_variance, byte_variance;
};

struct block {
  unsigned kind;
};

/* splitmix64 */
static uint64_t next(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void require(bool is_so, const char *what) {
  if (!is_so) {
    fprintf(stderr, "labels_kinds: %s\n", what);
    exit(1);
  }
}

struct worker {
  pthread_t thread;
  uint64_t random;
  struct counts allocated[KINDS], freed[KINDS];
};

static struct worker workers[THREADS];
static hp_labels_t sets[KINDS];
static struct block *slots[SLOTS];
static int64_t rate;
static long turns; /* of each thread */

static void count(struct counts *counts, size_t size, int sign) {
  double p = rate > 1 ? -expm1(-(double)size / (double)rate) : 1;
  double variance = (1 - p) / p;
  counts->objects += sign;
  counts->bytes += sign * (int64_t)size;
  counts->samples += sign * p;
  counts->object_variance += sign * variance;
  counts->byte_variance += sign * variance * (double)size * (double)size;
}

static void put(struct worker *worker, size_t slot, struct block *block) {
  struct block *old = __atomic_exchange_n(&slots[slot], block, __ATOMIC_ACQ_REL);
  if (old != NULL) {
    count(&worker->freed[old->kind], malloc_usable_size(old), 1);
    free(old);
  }
}

static void allocate(struct worker *worker, unsigned kind) {
  struct block *block = malloc(sizeof *block + next(&worker->random) % 3000 / (kind % 7 + 1));
  block->kind = kind;
  count(&worker->allocated[kind], malloc_usable_size(block), 1);
  put(worker, next(&worker->random) % SLOTS, block);
}

struct request {
  struct worker *worker;
  unsigned kind;
};

/* Under the labels of its kind, with a part under an inner set that must not take anything away. */
static void serve(void *arg) {
  struct request *request = arg;
  uint64_t blocks = next(&request->worker->random) % 16;
  for (uint64_t i = 0; i < blocks; i++) {
    if (i == 8) {
      HP_SCOPE(hp_labels("phase", "late")) {
        allocate(request->worker, request->kind);
      }
    }
    allocate(request->worker, request->kind);
  }
}

static void *serve_requests(void *arg) {
  struct worker *worker = arg;
  for (long i = 0; i < turns; i++) {
    struct request request = {worker, (unsigned)(next(&worker->random) % KINDS)};
    hp_do_arg(sets[request.kind], serve, &request);
    if (i % 16 == 0) { /* outside of any request: slots are freed without labels too */
      put(worker, next(&worker->random) % SLOTS, NULL);
    }
  }
  return NULL;
}

static void switch_once(void *arg) {
  struct request *request = arg;
  if (next(&request->worker->random) % 128 == 0) {
    allocate(request->worker, request->kind);
  }
}

static void *switch_labels(void *arg) {
  struct worker *worker = arg;
  for (long i = 0; i < turns; i++) {
    struct request request = {worker, (unsigned)(i % KINDS)};
    hp_do_arg(sets[request.kind], switch_once, &request);
  }
  return NULL;
}

static void run(void *(*body)(void *)) {
  for (int i = 0; i < THREADS; i++) {
    workers[i].random = SEED + (uint64_t)i;
    require(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0, "no thread");
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
  }
}

static void print_kind(unsigned kind) {
  struct counts allocated = {0}, freed = {0};
  for (int i = 0; i < THREADS; i++) {
    const struct counts *parts[] = {&workers[i].allocated[kind], &workers[i].freed[kind]};
    struct counts *sums[] = {&allocated, &freed};
    for (int j = 0; j < 2; j++) {
      sums[j]->objects += parts[j]->objects;
      sums[j]->bytes += parts[j]->bytes;
      sums[j]->samples += parts[j]->samples;
      sums[j]->object_variance += parts[j]->object_variance;
      sums[j]->byte_variance += parts[j]->byte_variance;
    }
  }
  printf("kind%02u %ld %ld %ld %ld %.1f %.1f %.6g %.6g %.6g %.6g\n", kind, (long)allocated.objects,
         (long)allocated.bytes, (long)(allocated.objects - freed.objects),
         (long)(allocated.bytes - freed.bytes), allocated.samples, allocated.samples - freed.samples,
         allocated.object_variance, allocated.byte_variance,
         allocated.object_variance - freed.object_variance, allocated.byte_variance - freed.byte_variance);
}

int main(int argc, char **argv) {
  require(argc == 4, "usage: labels_kinds load|switches PROFILE TURNS");
  rate = hp_set_mem_profile_rate(-1);
  turns = atol(argv[3]) / THREADS;
  char name[16];
  for (unsigned i = 0; i < KINDS; i++) {
    snprintf(name, sizeof name, "kind%02u", i);
    sets[i] = hp_labels("kind", name, "service", "test");
  }
  run(argv[1][0] == 'l' ? serve_requests : switch_labels);
  int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  require(fd >= 0 && hp_write_heap_profile(fd) == 0, "no profile");
  close(fd);
  for (unsigned i = 0; i < KINDS; i++) {
    print_kind(i);
  }
  return 0;
}
