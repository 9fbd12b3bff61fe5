/* SPDX-License-Identifier: MIT */
/*
 * Rows made of threads. They are copied into the memory of the profile, so that what was collected can go at
 * once.
 */
#include "serve/thread_profiles.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "labels/set.h"
#include "sampler/tally.h"
#include "sampler/thread_list.h"
#include "sampler/thread_stacks.h"

#define TITLE_MAX 256
/* For threads that begin between measuring and counting. */
#define SPARE_THREADS 64
#define SPARE_FRAMES 128
/* Of a thread that was not reached: where it is, and that its callers are unknown. */
#define UNREACHED_FRAMES 2

static void describe_counts(struct ha_profile *profile, const char *name, const struct ha_tally *tally) {
  *profile = (struct ha_profile){
      .name = name,
      .shows_allocators = true,
      .types = {{name, "count"}},
      .type_count = 1,
      .period_type = {name, "count"},
      .period = 1,
      .label = ha_label_set_item,
      .visit = ha_tally_visit,
      .source = tally,
  };
}

/* What is known of a thread's stack; own has room for those that are not walked. */
static uint32_t frames_of(const struct ha_thread_stack *thread, uintptr_t own[UNREACHED_FRAMES],
                          const uintptr_t **ret_frames) {
  uint32_t count = 0;
  if (thread->frame_count != 0) {
    *ret_frames = thread->frames;
    return thread->frame_count;
  }
  if (thread->pc != 0) {
    own[count++] = thread->pc;
  }
  own[count++] = thread->reach == HA_REACHED ? HA_FRAME_UNKNOWN : HA_FRAME_NOT_REACHABLE;
  *ret_frames = own;
  return count;
}

static struct ha_tally *count_stacks(const struct ha_thread_stacks *stacks,
                                     const struct ha_kind_memory *memory) {
  size_t frame_count = 0;
  for (uint32_t i = 0; i < stacks->count; i++) {
    frame_count += stacks->items[i].frame_count + UNREACHED_FRAMES;
  }
  size_t size = ha_tally_size(stacks->count, frame_count);
  void *room = ha_kind_alloc(memory, size);
  struct ha_tally *tally = room != NULL ? ha_tally_at(room, size) : NULL;
  for (uint32_t i = 0; tally != NULL && i < stacks->count; i++) {
    uintptr_t own[UNREACHED_FRAMES];
    const uintptr_t *frames;
    uint32_t count = frames_of(&stacks->items[i], own, &frames);
    ha_tally_add(tally, frames, count, stacks->items[i].label_set, 1, 0);
  }
  return tally;
}

static void comment(struct ha_profile *profile, const struct ha_thread_stacks *stacks,
                    const struct ha_kind_memory *memory) {
  uint32_t reached = 0;
  for (uint32_t i = 0; i < stacks->count; i++) {
    reached += stacks->items[i].reach == HA_REACHED;
  }
  ha_kind_comment(profile, memory, "halloc: version=" HA_VERSION " pid=%d", (int)getpid());
  ha_kind_comment(profile, memory, "halloc: threads=%u not_reachable=%u", stacks->count,
                  stacks->count - reached);
}

void *ha_gather_threads(void) {
  return ha_thread_stacks_collect();
}

void ha_release_threads(void *gathered) {
  ha_thread_stacks_free(gathered);
}

int ha_open_threads(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  (void)name;
  const struct ha_thread_stacks *stacks = memory->gathered;
  if (stacks == NULL) {
    return -ENOMEM;
  }
  struct ha_tally *tally = count_stacks(stacks, memory);
  if (tally != NULL) {
    describe_counts(profile, "goroutine", tally);
    comment(profile, stacks, memory);
  }
  return tally != NULL ? 0 : -ENOMEM;
}

/* Rows that are there already. */
struct dump {
  uint32_t count;
  struct ha_row rows[];
};

static void visit_dump(const struct ha_profile *profile, ha_row_fn *fn, void *arg) {
  const struct dump *dump = profile->source;
  for (uint32_t i = 0; i < dump->count; i++) {
    fn(&dump->rows[i], arg);
  }
}

/* Text that is being put together, cut at its size. */
struct text {
  char *at;
  size_t left;
};

static void append(struct text *text, const char *format, ...) HA_PRINTF(2, 3);

static void append(struct text *text, const char *format, ...) {
  va_list args;
  va_start(args, format);
  size_t length = ha_vformat(text->at, text->left, format, args);
  va_end(args);
  length = length < text->left ? length : text->left - 1;
  text->at += length;
  text->left -= length;
}

/* In quotes; what would end them, or the brackets around, is made harmless. */
static void append_quoted(struct text *text, const char *words) {
  append(text, "\"");
  for (; *words != '\0'; words++) {
    bool is_plain = *words != '"' && *words != '\\' && *words != ']' && (unsigned char)*words >= ' ';
    append(text, "%c", is_plain ? *words : '?');
  }
  append(text, "\"");
}

static const char *state_of(const struct ha_thread_stack *thread) {
  const char *wait = ha_wait_name(thread->syscall_number);
  switch (thread->run_state) {
  case 'R':
    return "running";
  case 'T':
  case 't':
    return "stopped";
  case 'D':
    return wait != NULL ? wait : "uninterruptible";
  default:
    return wait != NULL ? wait : "sleeping";
  }
}

/* As Go: "goroutine ID [STATE, ... labels:{"key":"value"}]". */
static void write_title(const struct ha_thread_stack *thread, char *out, size_t size) {
  static const char *const reaches[] = {"", ", not reachable: blocks signals",
                                        ", not reachable: waits for signals", ", not reachable: no answer",
                                        ", not reachable: no signal is free"};
  struct text text = {out, size};
  append(&text, "goroutine %d [%s%s, ", (int)thread->id, state_of(thread), reaches[thread->reach]);
  append_quoted(&text, thread->name);
  const char *key, *value;
  uint32_t i = 0;
  for (; ha_label_set_item(thread->label_set, i, &key, &value); i++) {
    append(&text, i == 0 ? " labels:{" : ", ");
    append_quoted(&text, key);
    append(&text, ": ");
    append_quoted(&text, value);
  }
  append(&text, i != 0 ? "}]" : "]");
}

static size_t title_size(const struct ha_thread_stack *thread) {
  size_t size = TITLE_MAX;
  const char *key, *value;
  for (uint32_t i = 0; ha_label_set_item(thread->label_set, i, &key, &value); i++) {
    size += strlen(key) + strlen(value) + sizeof "\"\": \"\", ";
  }
  return size;
}

/* False without memory. */
static bool fill_row(struct ha_row *row, const struct ha_thread_stack *thread,
                     const struct ha_kind_memory *memory) {
  uintptr_t own[UNREACHED_FRAMES];
  const uintptr_t *frames;
  uint32_t count = frames_of(thread, own, &frames);
  size_t size = title_size(thread);
  uintptr_t *copy = ha_kind_alloc(memory, count * sizeof *copy);
  char *title = ha_kind_alloc(memory, size);
  if (copy == NULL || title == NULL) {
    return false;
  }
  memcpy(copy, frames, count * sizeof *copy);
  write_title(thread, title, size);
  const struct ha_stack *creator = ha_thread_creator(thread->id);
  *row = (struct ha_row){.frames = copy,
                         .frame_count = count,
                         .label_set = thread->label_set,
                         .values = {1},
                         .title = title,
                         .creator = creator != NULL ? creator->frames[0] : 0};
  return true;
}

int ha_open_thread_dump(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  (void)name;
  const struct ha_thread_stacks *stacks = memory->gathered;
  if (stacks == NULL) {
    return -ENOMEM;
  }
  struct dump *dump = ha_kind_alloc(memory, sizeof *dump + stacks->count * sizeof *dump->rows);
  bool is_whole = dump != NULL;
  while (is_whole && dump->count < stacks->count) {
    is_whole = fill_row(&dump->rows[dump->count], &stacks->items[dump->count], memory);
    dump->count++;
  }
  describe_counts(profile, "goroutine", NULL);
  profile->text_form = HA_TEXT_DUMP;
  profile->visit = visit_dump;
  profile->source = dump;
  return is_whole ? 0 : -ENOMEM;
}

static void measure(struct ha_thread *thread, void *arg) {
  size_t *sizes = arg;
  sizes[0]++;
  sizes[1] += thread->creator != NULL ? thread->creator->frame_count : 1;
}

static void count_creator(struct ha_thread *thread, void *arg) {
  const uintptr_t alone = thread->id == getpid() ? HA_FRAME_MAIN_THREAD : HA_FRAME_UNKNOWN;
  const uintptr_t *frames = thread->creator != NULL ? thread->creator->frames : &alone;
  ha_tally_add(arg, frames, thread->creator != NULL ? thread->creator->frame_count : 1, HA_LABEL_SET_EMPTY, 1,
               0);
}

int ha_open_thread_creators(struct ha_profile *profile, const char *name,
                            const struct ha_kind_memory *memory) {
  size_t sizes[2] = {SPARE_THREADS, (size_t)SPARE_THREADS * SPARE_FRAMES};
  ha_thread_visit(measure, sizes);
  size_t size = ha_tally_size(sizes[0], sizes[1]);
  void *room = ha_kind_alloc(memory, size);
  if (room == NULL) {
    return -ENOMEM;
  }
  struct ha_tally *tally = ha_tally_at(room, size);
  ha_thread_visit(count_creator, tally);
  describe_counts(profile, name, tally);
  ha_kind_comment(profile, memory, "halloc: version=" HA_VERSION " pid=%d", (int)getpid());
  return 0;
}
