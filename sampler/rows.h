/* SPDX-License-Identifier: MIT */
/*
 * A profile as its source hands it to an encoder: a description and a stream of rows.
 *
 * This is the only thing the encoders (proto/) know about where numbers come from. A row is one (stack, block
 * size, label set) with its values; rows are visited one at a time and the pointers in a row stay valid until
 * the process ends, so an encoder may keep them. Visiting takes no lock and never waits: other threads go on
 * allocating meanwhile. What is in use never exceeds what was allocated in the rows of one site taken together.
 */
#ifndef HA_SAMPLER_ROWS_H
#define HA_SAMPLER_ROWS_H

#include <stdbool.h>
#include <stdint.h>

/* Go's heap profile has four values, and consumers fix that number (at most four are ever written). */
#define HA_ROW_VALUES_MAX 4
#define HA_ROW_NUMBERS_MAX 4
#define HA_COMMENTS_MAX 16

/*
 * Frames that stand for no code. Real return addresses are never below one OS page, so small numbers are free
 * to name them; encoders show the names instead of an address.
 */
enum ha_synthetic_frame {
  HA_FRAME_OVERFLOW = 2, /* samples that came when the sampler's tables were full */
  HA_FRAME_UNKNOWN,      /* samples whose stack could not be walked */
  /* Of the resident memory, what no stack tells: see serve/rss_profile.h. */
  HA_FRAME_NOT_SAMPLED,
  HA_FRAME_FREE_IN_PAGES,
  HA_FRAME_IDLE,
  HA_FRAME_OWN,
  HA_FRAME_STACKS,
  HA_FRAME_FILES,
  HA_FRAME_ANONYMOUS,
  HA_FRAME_MAPPINGS, /* caller of the last two */
  /* Of threads. */
  HA_FRAME_NOT_REACHABLE, /* callers in a thread that could not be asked for its stack */
  HA_FRAME_MAIN_THREAD,   /* creator of the thread that the process began with */
  HA_FRAME_SYNTHETIC_END
};

/* The name of the call at pc (a return address less one), or NULL if it is real code. */
static inline const char *ha_synthetic_name(uintptr_t pc) {
  static const char *const names[] = {"[overflow]",
                                      "[unknown]",
                                      "[not sampled]",
                                      "[free in pages]",
                                      "[idle]",
                                      "[halloc itself]",
                                      "[stacks]",
                                      "[files]",
                                      "[anonymous mappings]",
                                      "[files and other mappings]",
                                      "[not reachable]",
                                      "[main thread]"};
  uintptr_t frame = pc + 1;
  return frame >= HA_FRAME_OVERFLOW && frame < HA_FRAME_SYNTHETIC_END ? names[frame - HA_FRAME_OVERFLOW] : 0;
}

struct ha_value_type {
  const char *type; /* "alloc_objects" */
  const char *unit; /* "count" */
};

/* A number that tells rows apart, or describes one: pprof's numeric label. */
struct ha_row_number {
  const char *key;
  int64_t value;
  const char *unit;
};

/* How the text form looks, after Go's. */
enum ha_text_form {
  HA_TEXT_VALUES,      /* what has_sampled says */
  HA_TEXT_CONTENTIONS, /* the second value, then the first */
  HA_TEXT_DUMP,        /* one paragraph for each row, under its title; no values */
  HA_TEXT_TRACE,       /* not Go's: JSON, see proto/trace.h */
};

struct ha_row {
  const uintptr_t *frames; /* return addresses, innermost caller first; at least one */
  uint32_t frame_count;
  uint32_t label_set;                  /* id of an interned label set; 0 is the empty set */
  uint64_t block_size;                 /* bytes of one block, at most; 0: the row has no size */
  int64_t values[HA_ROW_VALUES_MAX];   /* unbiased estimates, in the order of ha_profile.types */
  int64_t sampled[HA_ROW_VALUES_MAX];  /* what was really sampled, same order, for the text form */
  double variances[HA_ROW_VALUES_MAX]; /* of the estimates, same order; 0: exact, or not known for the row */
  uint32_t number_count;
  struct ha_row_number numbers[HA_ROW_NUMBERS_MAX]; /* beside the block size */
  const char *title;                                /* HA_TEXT_DUMP, HA_TEXT_TRACE */
  uintptr_t creator; /* HA_TEXT_DUMP: return address in who created the thread, or 0 */
};

typedef void ha_row_fn(const struct ha_row *row, void *arg);

struct ha_profile {
  const char *name; /* "heap" */
  enum ha_text_form text_form;
  bool shows_allocators; /* readers shall not hide functions that only pass an allocation on */
  struct ha_value_type types[HA_ROW_VALUES_MAX];
  uint32_t type_count;
  const char *default_type; /* NULL: none named, tools take the last */
  struct ha_value_type period_type;
  int64_t period;         /* in period_type's unit */
  int64_t time_nanos;     /* Unix time of collection */
  int64_t duration_nanos; /* 0 for a snapshot */
  const char *comments[HA_COMMENTS_MAX];
  uint32_t comment_count;
  /* One label of a label set, in the order of the keys; false beyond the last. The texts live as long as the
   * process. NULL: rows have no labels. */
  bool (*label)(uint32_t label_set, uint32_t index, const char **ret_key, const char **ret_value);
  bool has_sampled; /* rows tell what was really sampled; the text form is then that of a heap profile */
  const char *text_trailer; /* lines that the text form appends (statistics), or NULL */
  void (*visit)(const struct ha_profile *profile, ha_row_fn *fn, void *arg);
  const void *source; /* what visit reads from, if it needs more than the sampler's tables */
};

#endif
