/* SPDX-License-Identifier: MIT */
/*
 * A slot is chosen by the page's address. Its word, from the top: size class, last block, first block, count; blocks as
 * offsets in 16-byte units from the page's start. One word, so that statistics never see a count of another class.
 */
#include "alloc/outbox.h"

#include "alloc/remote.h"
#include "base/atomic.h"

#define FIELD_BITS 16
#define FIELD_MASK ((uint64_t)0xffff)
#define UNIT_SHIFT 4

enum field { COUNT, FIRST, LAST, CLASS };

static uint64_t field_of(uint64_t list, enum field field) {
  return list >> (field * FIELD_BITS) & FIELD_MASK;
}

static uint64_t as_field(uint64_t value, enum field field) {
  return value << (field * FIELD_BITS);
}

static uint64_t unit_of(const struct ha_page *page, const struct ha_block *block) {
  return (uint64_t)((const char *)block - page->start) >> UNIT_SHIFT;
}

static struct ha_block *block_at(const struct ha_page *page, uint64_t unit) {
  return (struct ha_block *)(page->start + (unit << UNIT_SHIFT));
}

static void hand_over(struct ha_page *page, uint64_t *slot_list) {
  uint64_t list = *slot_list;
  /* First: handing a page over may adopt it, which must find no block of it here. */
  ha_store_relaxed(slot_list, 0);
  ha_remote_free_list(page, block_at(page, field_of(list, FIRST)), block_at(page, field_of(list, LAST)),
                      (uint32_t)field_of(list, COUNT));
}

void ha_outbox_add(struct ha_outbox *outbox, struct ha_page *page, struct ha_block *block) {
  size_t index = (uintptr_t)page / sizeof *page % HA_OUTBOX_SLOTS;
  uint64_t *list = &outbox->slots[index].list;
  /* Again, should handing over have called the application, which frees, too (pressure.h). */
  while (*list != 0 && outbox->slots[index].page != page) {
    hand_over(outbox->slots[index].page, list);
  }
  outbox->slots[index].page = page;
  uint64_t unit = unit_of(page, block);
  uint64_t count = field_of(*list, COUNT) + 1;
  uint64_t last = count == 1 ? unit : field_of(*list, LAST);
  block->next = count == 1 ? NULL : block_at(page, field_of(*list, FIRST));
  ha_store_relaxed(list, as_field(count, COUNT) | as_field(unit, FIRST) | as_field(last, LAST) |
                             as_field(page->size_class, CLASS));
  if (count == HA_OUTBOX_BLOCKS || count * page->block_size >= HA_OUTBOX_BYTES) {
    hand_over(page, list);
  }
}

void ha_outbox_flush(struct ha_outbox *outbox) {
  for (unsigned i = 0; i < HA_OUTBOX_SLOTS; i++) {
    if (outbox->slots[i].list != 0) {
      hand_over(outbox->slots[i].page, &outbox->slots[i].list);
    }
  }
}

void ha_outbox_count(const struct ha_outbox *outbox, uint64_t *counts) {
  for (unsigned i = 0; i < HA_OUTBOX_SLOTS; i++) {
    uint64_t list = ha_load_relaxed(&outbox->slots[i].list);
    counts[field_of(list, CLASS)] += field_of(list, COUNT);
  }
}
