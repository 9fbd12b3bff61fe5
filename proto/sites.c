/* SPDX-License-Identifier: MIT */
/*
 * Listing the sites. Bytes are summed by address while the rows come in, so that only distinct addresses are
 * named; the named addresses are then sorted by function and merged, and what results is sorted by bytes.
 */
#include "proto/sites.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "proto/frames.h"
#include "proto/intern.h"
#include "base/sort.h"

/* Of a heap profile. */
#define VALUE_COUNT 4
#define INUSE_SPACE 3
/* Longest formatted piece: ", ", numbers of 20 digits and a few letters. */
#define PIECE_MAX 80
#define ADDRESS_MAX (sizeof "+0x" + 16 - 1)
#define CUT_MARK "..."

struct site {
  const struct ha_frame *frame; /* one of the function's */
  uint64_t bytes;
};

struct lister {
  struct ha_buffer text;
  struct ha_frames frames; /* the innermost of each stack */
  struct ha_mappings mappings;
  uint64_t *bytes; /* by frame */
  uint32_t bytes_count;
  uint32_t bytes_capacity;
  struct site *sites;
  uint32_t site_count;
  int error; /* 0 or the first failure while rows come in */
};

/* Adds to the bytes of a frame, which is an old one or the next. */
static int add_bytes(struct lister *lister, uint32_t frame, uint64_t bytes) {
  if (frame == lister->bytes_count) {
    uint64_t *room = ha_scratch_room(lister->text.scratch, lister->bytes, lister->bytes_count,
                                     &lister->bytes_capacity, sizeof(*room));
    if (room == NULL) {
      return -ENOMEM;
    }
    lister->bytes = room;
    room[lister->bytes_count++] = 0;
  }
  lister->bytes[frame] += bytes;
  return 0;
}

static void add_row(const struct ha_row *row, void *arg) {
  struct lister *lister = arg;
  if (lister->error != 0 || row->values[INUSE_SPACE] <= 0) {
    return;
  }
  uint32_t frame;
  uintptr_t caller = row->frame_count > 0 ? row->frames[0] : (uintptr_t)HA_FRAME_UNKNOWN;
  lister->error = ha_frames_intern(&lister->frames, ha_frame_pc(caller), &frame);
  if (lister->error == 0) {
    lister->error = add_bytes(lister, frame, (uint64_t)row->values[INUSE_SPACE]);
  }
}

/* Equal for the frames of one function. What has no name is told apart by its address. */
static uintptr_t function_of(const struct ha_frame *frame) {
  return frame->name != NULL ? frame->entry : frame->pc;
}

static int merge_functions(struct lister *lister) {
  uint32_t count = lister->frames.count;
  struct ha_sort_item *order = ha_scratch_zalloc(lister->text.scratch, count, sizeof(*order));
  lister->sites = ha_scratch_zalloc(lister->text.scratch, count, sizeof(*lister->sites));
  if (order == NULL || lister->sites == NULL) {
    return -ENOMEM;
  }
  for (uint32_t i = 0; i < count; i++) {
    order[i] = (struct ha_sort_item){.key = function_of(&lister->frames.items[i]), .index = i};
  }
  ha_sort(order, count);
  for (uint32_t i = 0; i < count; i++) {
    if (i == 0 || order[i].key != order[i - 1].key) {
      lister->sites[lister->site_count++].frame = &lister->frames.items[order[i].index];
    }
    lister->sites[lister->site_count - 1].bytes += lister->bytes[order[i].index];
  }
  return 0;
}

/* At most so many bytes of a text, made printable. */
static void put_cut(struct lister *lister, const char *text, size_t most) {
  const char *printable = ha_copy_printable(lister->text.scratch, text);
  if (printable == NULL) {
    lister->text.error = -ENOMEM;
    return;
  }
  size_t size = strlen(printable);
  if (size <= most) {
    ha_buffer_append(&lister->text, printable, size);
    return;
  }
  size = most - strlen(CUT_MARK);
  while (size > 0 && ((unsigned char)printable[size] & 0xc0) == 0x80) {
    size--; /* not within a character */
  }
  ha_buffer_append(&lister->text, printable, size);
  ha_buffer_append(&lister->text, CUT_MARK, strlen(CUT_MARK));
}

/* "module+0xoffset", the offset as addr2line wants it. */
static void put_place(struct lister *lister, const struct ha_frame *frame) {
  const struct ha_mapping *mapping = &lister->mappings.items[frame->mapping];
  const char *slash = strrchr(mapping->path, '/');
  uintptr_t offset =
      mapping->has_bias ? frame->pc - mapping->bias : frame->pc - mapping->start + mapping->offset;
  char piece[PIECE_MAX];
  put_cut(lister, slash != NULL ? slash + 1 : mapping->path, HA_SITE_NAME_MAX - ADDRESS_MAX);
  ha_buffer_append(&lister->text, piece, ha_format(piece, sizeof(piece), "+0x%lx", (unsigned long)offset));
}

static void put_site(struct lister *lister, const struct site *site) {
  char piece[PIECE_MAX];
  if (site->frame->name != NULL) {
    put_cut(lister, site->frame->name, HA_SITE_NAME_MAX);
  } else if (site->frame->mapping != HA_FRAME_NO_MAPPING) {
    put_place(lister, site->frame);
  } else {
    ha_buffer_append(&lister->text, piece,
                     ha_format(piece, sizeof(piece), "0x%lx", (unsigned long)site->frame->pc));
  }
  uint64_t tenths = ha_mib_tenths(site->bytes);
  ha_buffer_append(&lister->text, piece,
                   ha_format(piece, sizeof(piece), " %lu.%lu MiB", tenths / 10, tenths % 10));
}

static int put_sites(struct lister *lister) {
  struct ha_sort_item *order = ha_scratch_zalloc(lister->text.scratch, lister->site_count, sizeof(*order));
  if (order == NULL) {
    return -ENOMEM;
  }
  for (uint32_t i = 0; i < lister->site_count; i++) {
    order[i] = (struct ha_sort_item){.key = lister->sites[i].bytes, .index = i};
  }
  ha_sort(order, lister->site_count);
  uint32_t listed = lister->site_count < HA_SITES_MAX ? lister->site_count : HA_SITES_MAX;
  for (uint32_t i = 0; i < listed; i++) {
    ha_buffer_append(&lister->text, ", ", i > 0 ? 2 : 0);
    put_site(lister, &lister->sites[order[lister->site_count - 1 - i].index]);
  }
  char piece[PIECE_MAX];
  ha_buffer_append(&lister->text, piece,
                   ha_format(piece, sizeof(piece), " (%u of %u)", listed, lister->site_count));
  return lister->text.error;
}

static int list(struct lister *lister) {
  int error = ha_mappings_read(lister->text.scratch, &lister->mappings);
  if (error == 0) {
    error = ha_frames_resolve(&lister->frames, &lister->mappings);
  }
  if (error == 0) {
    error = merge_functions(lister);
  }
  return error == 0 ? put_sites(lister) : error;
}

int ha_sites_encode(const struct ha_profile *profile, struct ha_scratch *scratch, struct ha_blob *ret_blob) {
  if (profile->type_count != VALUE_COUNT) {
    return -ENOTSUP;
  }
  struct lister lister = {0};
  ha_buffer_init(&lister.text, scratch);
  ha_frames_init(&lister.frames, scratch);
  profile->visit(profile, add_row, &lister);
  if (lister.error == 0 && lister.frames.count > 0) {
    lister.error = list(&lister);
  }
  return lister.error == 0 ? ha_buffer_finish(&lister.text, ret_blob) : lister.error;
}
