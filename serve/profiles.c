/* SPDX-License-Identifier: MIT */
/*
 * Writing a profile: statistics first, then the rows, then the encoding in scratch memory, under
 * HA_RANK_PROFILE so that fork never meets a half-built scratch heap; last the bytes go out, under no lock,
 * since a descriptor may be slow. The comments carry what a reader needs to judge the numbers: rate, drops,
 * exact totals.
 */
#include "serve/profiles.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/stats.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/random.h"
#include "labels/set.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/sample.h"
#include "sampler/stack.h"
#include "sampler/unwind.h"
#include "serve/kinds.h"
#include "serve/memstats_text.h"
#include "serve/pprof_library.h"

#define COMMENT_MAX 512
#define TEXT_DEBUG_MAX 2
#define NANOS_PER_SECOND 1000000000

/* A profile with the storage its texts live in. */
struct document {
  struct ha_profile profile;
  char comments[HA_COMMENTS_MAX][COMMENT_MAX];
  char trailer[HA_MEMSTATS_TEXT_MAX];
};

static char *next_comment(struct document *document) {
  struct ha_profile *profile = &document->profile;
  char *line = document->comments[profile->comment_count];
  profile->comments[profile->comment_count++] = line;
  return line;
}

/* Each estimate with its standard error. */
static void describe_samples(char *line, const struct ha_heap_totals *totals) {
  static const char *const names[HA_ROW_VALUES_MAX] = {"alloc_objects", "alloc_space", "inuse_objects",
                                                       "inuse_space"};
  size_t length = ha_format(line, COMMENT_MAX, "halloc: sampled");
  for (unsigned i = HA_ROW_VALUES_MAX; i-- > 0;) {
    double error = ha_square_root(totals->variances[i]);
    length += ha_format(line + length, COMMENT_MAX - length, " %s=%ld %s_se=%lu", names[i],
                        (long)totals->values[i], names[i], (unsigned long)(error + 0.5));
  }
  ha_format(line + length, COMMENT_MAX - length, " inuse_samples=%ld alloc_samples=%ld stacks=%lu",
            (long)totals->sampled[2], (long)totals->sampled[0], ha_stack_count());
}

static void describe(struct document *document, const struct hp_memstats *stats) {
  struct ha_heap_totals totals = ha_heap_totals();
  ha_format(next_comment(document), COMMENT_MAX, "halloc: version=" HA_VERSION " pid=%d rate=%ld",
            (int)getpid(), (long)ha_rate());
  ha_format(next_comment(document), COMMENT_MAX,
            "halloc: exact HeapAlloc=%lu TotalAlloc=%lu HeapObjects=%lu Mallocs=%lu Frees=%lu",
            stats->HeapAlloc, stats->TotalAlloc, stats->HeapObjects, stats->Mallocs, stats->Frees);
  describe_samples(next_comment(document), &totals);
  ha_format(next_comment(document), COMMENT_MAX, "halloc: lost dropped=%lu overflow=%lu truncated=%lu",
            ha_samples_dropped(HA_DROP_REENTRANT) + ha_samples_dropped(HA_DROP_NO_MEMORY),
            totals.overflow_samples, ha_unwind_truncated());
  struct ha_label_counts labels = ha_label_counts();
  if (labels.sets != 0 || labels.refused != 0) {
    ha_format(next_comment(document), COMMENT_MAX,
              "halloc: labels sets=%lu bytes=%lu overflowed=%lu refused=%lu", labels.sets, labels.bytes,
              labels.overflowed, labels.refused);
  }
}

int64_t ha_profile_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * NANOS_PER_SECOND + now.tv_nsec;
}

static int write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return written < 0 ? -errno : -EIO;
    }
    data += written;
    size -= (size_t)written;
  }
  return 0;
}

static int encode(const struct ha_kind *kind, int debug, const struct ha_kind_memory *memory,
                  struct ha_blob *blob) {
  struct document *document = ha_kind_alloc(memory, sizeof *document);
  if (document == NULL) {
    return -ENOMEM;
  }
  /* Statistics before the profile, as Go does (golang/go#20565): the profile must not lag behind them. */
  struct hp_memstats stats;
  ha_stats_read(&stats);
  ha_kind_open_fn *open = debug == TEXT_DEBUG_MAX && kind->open_dump != NULL ? kind->open_dump : kind->open;
  int error = open(&document->profile, kind->name, memory);
  if (error != 0) {
    return error;
  }
  document->profile.time_nanos = ha_profile_time();
  if (kind->is_heap) {
    describe(document, &stats);
    ha_memstats_comment(&stats, document->trailer, sizeof document->trailer);
    document->profile.text_trailer = document->trailer;
  }
  ha_encode_fn *form = debug == 0 ? memory->encoders->proto : memory->encoders->text;
  error = form(&document->profile, memory->scratch, blob);
  if (error == 0 && !memory->is_for_text && kind->complete != NULL) {
    kind->complete(&document->profile);
  }
  return error;
}

static int encode_alone(const struct ha_kind *kind, int debug, const struct ha_encoders *encoders,
                        void *gathered, struct ha_profile_file *ret_file) {
  struct ha_blob blob = {NULL, 0};
  int cancel_state;
  /* Reading files is a cancellation point: a thread cancelled there would leave with the lock. */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  ha_lock(HA_RANK_PROFILE);
  struct ha_scratch *scratch = encoders->scratch_new();
  struct ha_kind_memory memory = {encoders, scratch, debug != 0, gathered};
  int error = scratch != NULL ? encode(kind, debug, &memory, &blob) : -ENOMEM;
  if (error != 0 && scratch != NULL) {
    encoders->scratch_destroy(scratch);
  }
  ha_unlock(HA_RANK_PROFILE);
  pthread_setcancelstate(cancel_state, NULL);
  *ret_file = (struct ha_profile_file){blob.data, blob.size, error == 0 ? scratch : NULL};
  return error;
}

int ha_profile_encode(const char *name, int debug, struct ha_profile_file *ret_file) {
  const struct ha_kind *kind = name != NULL ? ha_kind_find(name) : NULL;
  return kind != NULL ? ha_profile_encode_kind(kind, debug, ret_file) : -ENOENT;
}

int ha_profile_encode_kind(const struct ha_kind *kind, int debug, struct ha_profile_file *ret_file) {
  if (debug < 0 || debug > TEXT_DEBUG_MAX) {
    return -EINVAL;
  }
  const struct ha_encoders *encoders = ha_pprof_library();
  if (encoders == NULL) {
    return -ELIBACC;
  }
  void *gathered = kind->gather != NULL ? kind->gather() : NULL;
  int error = encode_alone(kind, debug, encoders, gathered, ret_file);
  if (gathered != NULL) {
    kind->release(gathered);
  }
  return error;
}

void ha_profile_discard(struct ha_profile_file *file) {
  ha_lock(HA_RANK_PROFILE);
  ha_pprof_library()->scratch_destroy(file->scratch);
  ha_unlock(HA_RANK_PROFILE);
}

static void count_row(const struct ha_row *row, void *arg) {
  (void)row;
  ++*(uint64_t *)arg;
}

uint64_t ha_profile_count(const struct ha_kind *kind) {
  const struct ha_encoders *encoders = kind->gather == NULL ? ha_pprof_library() : NULL;
  uint64_t count = 0;
  if (encoders == NULL) {
    return 0;
  }
  ha_lock(HA_RANK_PROFILE);
  struct ha_kind_memory memory = {encoders, encoders->scratch_new(), true, NULL};
  struct ha_profile profile;
  if (memory.scratch != NULL) {
    if (kind->open(&profile, kind->name, &memory) == 0) {
      profile.visit(&profile, count_row, &count);
    }
    encoders->scratch_destroy(memory.scratch);
  }
  ha_unlock(HA_RANK_PROFILE);
  return count;
}

int ha_profile_write_file(const struct ha_profile_file *file, int fd) {
  return write_all(fd, file->data, file->size);
}

int ha_profile_write(const char *name, int fd, int debug) {
  int saved = errno;
  int cancel_state;
  struct ha_profile_file file;
  /* Writing is a cancellation point, too. */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  int error = ha_profile_encode(name, debug, &file);
  if (error == 0) {
    error = write_all(fd, file.data, file.size);
    ha_profile_discard(&file);
  }
  pthread_setcancelstate(cancel_state, NULL);
  errno = saved;
  return error;
}

HA_EXPORT int hp_write_profile(const char *name, int fd, int debug) {
  return ha_profile_write(name, fd, debug);
}

HA_EXPORT int hp_write_heap_profile(int fd) {
  return ha_profile_write("heap", fd, 0);
}
