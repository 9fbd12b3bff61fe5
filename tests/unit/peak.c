/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a peak that shows what was in use at another moment, one that grows a little wrong with
 * each sample that races, one that stands still in a forked child.
 */
#include "sampler/peak.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sampler/interval.h"
#include "sampler/peak_profile.h"
#include "sampler/sample.h"
#include "tests/test.h"

#define SEED 20261121
#define ENTRIES 40
#define SAMPLES 2000
#define STEPS 200000

static void *alloc(const void *source, size_t size) {
  (void)source;
  return calloc(1, size);
}

static const struct ha_memory memory = {alloc, NULL};

static struct ha_entry *entries[ENTRIES];
static size_t sizes[ENTRIES]; /* every fourth entry has blocks of two sizes */

static void make_entries(void) {
  for (uintptr_t i = 0; i < ENTRIES; i++) {
    uintptr_t frames[2] = {0x400000 + i * 16, 0x500000};
    sizes[i] = 16 * (i + 1);
    entries[i] = ha_table_entry(ha_stack_intern(frames, 2), 3, 0, i % 4 != 0 ? sizes[i] : 0);
  }
}

struct seen {
  int64_t bytes[ENTRIES], objects[ENTRIES], total;
};

static void see(const struct ha_row *row, void *arg) {
  struct seen *seen = arg;
  size_t at = (row->frames[0] - 0x400000) / 16;
  CHECK(seen->bytes[at] == 0, "two rows of one entry");
  seen->objects[at] = row->values[0];
  seen->bytes[at] = row->values[1];
  seen->total += row->values[1];
}

static struct seen profile_of(struct ha_peak_rows *rows) {
  struct seen seen = {0};
  struct ha_profile profile;
  CHECK(ha_peak_gather(rows, memory), "no memory");
  ha_peak_profile(&profile, "peak", rows);
  profile.visit(&profile, see, &seen);
  return seen;
}

static void check_equal(const struct seen *actual, const struct seen *expected, int step) {
  for (int i = 0; i < ENTRIES; i++) {
    CHECK(actual->bytes[i] == expected->bytes[i] && actual->objects[i] == expected->objects[i],
          "step %d, entry %d: %ld bytes of %ld blocks, not %ld of %ld", step, i, (long)actual->bytes[i],
          (long)actual->objects[i], (long)expected->bytes[i], (long)expected->objects[i]);
  }
}

/* Against a model that copies everything at each new maximum. */
TEST(the_peak_is_what_was_in_use_then) {
  static struct ha_sample samples[SAMPLES];
  static int owner[SAMPLES];
  static struct seen now, highest;
  struct ha_peak_rows rows;
  uint64_t random = SEED;
  make_entries();
  test_note("seed %d", SEED);
  for (int step = 0; step < STEPS; step++) {
    unsigned at = test_random(&random) % SAMPLES;
    /* Waves: for a while more is taken than freed, then the other way. */
    bool may_take = test_random(&random) % 100 < (step / 5000 % 2 == 0 ? 60u : 35u);
    if (samples[at].entry == NULL && may_take) {
      int number = (int)(test_random(&random) % ENTRIES);
      size_t size = sizes[number] + (number % 4 == 0 ? 16 * (at % 2) : 0);
      ha_sample_record(&samples[at], entries[number], size, size, 1);
      owner[at] = number;
      now.bytes[number] += (int64_t)size;
      now.objects[number]++;
      now.total += (int64_t)size;
    } else if (samples[at].entry != NULL && !may_take) {
      int number = owner[at];
      size_t size = sizes[number] + (number % 4 == 0 ? 16 * (at % 2) : 0);
      CHECK(ha_sample_retire(&samples[at], NULL, size), "it is not live");
      now.bytes[number] -= (int64_t)size;
      now.objects[number]--;
      now.total -= (int64_t)size;
    }
    if (now.total > highest.total) {
      highest = now;
    }
    if (step % 997 == 0) {
      struct seen seen = profile_of(&rows);
      CHECK_EQ((int64_t)rows.peak.height, highest.total);
      check_equal(&seen, &highest, step);
    }
  }
}

TEST(a_peak_that_comes_while_it_is_held_follows_at_the_next_sample) {
  struct ha_sample samples[3] = {{0}};
  struct ha_peak_rows rows;
  make_entries();
  ha_sample_record(&samples[0], entries[1], 32, 32, 1);
  CHECK_EQ(ha_peak_hold().height, (uint64_t)32);
  ha_sample_record(&samples[1], entries[2], 48, 48, 1);
  CHECK_EQ(ha_peak_of(entries[1], 32).objects, HA_WEIGHT_ONE);
  CHECK_EQ(ha_peak_of(entries[2], 32).objects, (uint64_t)0);
  ha_peak_release();
  ha_sample_record(&samples[2], entries[3], 64, 64, 1);
  CHECK_EQ(profile_of(&rows).total, (int64_t)144);
  CHECK_EQ(rows.peak.height, (uint64_t)144);
}

/* ---- threads ---- */

#define THREADS 4
#define OWN 500
#define TURNS 150000

static void *churn(void *arg) {
  static struct ha_sample samples[THREADS][OWN];
  static size_t taken[THREADS][OWN];
  size_t thread = (size_t)arg;
  uint64_t random = SEED + thread;
  for (int turn = 0; turn < TURNS; turn++) {
    unsigned at = test_random(&random) % OWN;
    struct ha_sample *sample = &samples[thread][at];
    bool may_take = test_random(&random) % 100 < (turn / 9000 % 2 == 0 ? 70u : 30u);
    if (sample->entry == NULL && may_take) {
      unsigned number = test_random(&random) % ENTRIES;
      taken[thread][at] = sizes[number];
      ha_sample_record(sample, entries[number], sizes[number], sizes[number], 1);
    } else if (sample->entry != NULL && !may_take) {
      ha_sample_retire(sample, NULL, taken[thread][at]);
    }
  }
  return NULL;
}

/* What races can cost is a sample for each other thread at the moment of the peak, and one for each while an entry is
 * copied; not one each time. */
TEST(races_cost_no_more_than_the_samples_in_flight) {
  pthread_t threads[THREADS];
  struct ha_peak_rows rows;
  make_entries();
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, churn, (void *)i);
  }
  int64_t worst = 0;
  for (int i = 0; i < 300; i++) {
    int64_t difference = profile_of(&rows).total - (int64_t)rows.peak.height;
    difference = difference < 0 ? -difference : difference;
    worst = difference > worst ? difference : worst;
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  int64_t last = profile_of(&rows).total - (int64_t)rows.peak.height;
  test_note("off by %ld at worst, %ld at the end, of %lu bytes", (long)worst, (long)last,
            (unsigned long)rows.peak.height);
  const int64_t in_flight = 2 * THREADS * 16 * ENTRIES;
  CHECK(worst <= in_flight && last <= in_flight && last >= -in_flight, "off by %ld, at most %ld", (long)worst,
        (long)in_flight);
}

/* ---- fork ---- */

TEST(a_child_goes_on_when_its_parent_was_copying) {
  struct ha_sample samples[2] = {{0}};
  struct ha_peak_rows rows;
  make_entries();
  ha_sample_record(&samples[0], entries[1], 32, 32, 1);
  ha_sample_record(&samples[1], entries[2], 48, 48, 1);
  entries[1]->copier = 1; /* as if another thread were in the middle of it */
  int pid = fork();
  if (pid == 0) {
    ha_peak_after_fork_in_child();
    ha_sample_retire(&samples[0], NULL, 32);
    CHECK_EQ(profile_of(&rows).total, (int64_t)80);
    _exit(0);
  }
  CHECK_CHILD(pid);
}
