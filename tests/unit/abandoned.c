/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a block in use that is given to another thread because its page went from
 * hand to hand, memory that nobody owns and nobody gives back, a block that is lost because two threads let
 * go of its page.
 *
 * Blocks are filled with words made of their address, and looked at whenever they are touched again.
 */
#include "alloc/abandoned.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/page_map.h"
#include "alloc/remote.h"
#include "alloc/resident.h"
#include "base/os.h"
#include "tests/unit/at_rest.h"

#define SEED 20261203
#define SIZE 1000
#define BLOCK_SIZE 1024
#define PER_PAGE (HA_SLICE / BLOCK_SIZE)
#define PAGES 40
#define COUNT (PAGES * PER_PAGE)
#define KEPT 4 /* blocks that stay in use in each page: its first OS page, so that all free ones are parked */
#define FREE_OS_PAGES_LEAST (HA_SLICE / HA_OS_PAGE - 1)

static char *blocks[COUNT];

/* ---- Blocks ---- */

static void *new_block(void) {
  void *block = malloc(SIZE);
  CHECK(block != NULL, "no memory");
  fill(block, SIZE);
  return block;
}

static void free_block(char **slot) {
  check_filled(*slot, SIZE);
  free(*slot);
  *slot = NULL;
}

static void fill_pages(void) {
  for (size_t i = 0; i < COUNT; i++) {
    blocks[i] = new_block();
  }
}

static bool is_kept(const char *block) {
  return ha_page_block_index(ha_page_of(block), block) < KEPT;
}

static void thin_out(void) {
  for (size_t i = 0; i < COUNT; i++) {
    if (!is_kept(blocks[i])) {
      free_block(&blocks[i]);
    }
  }
}

static void free_rest(void) {
  for (size_t i = 0; i < COUNT; i++) {
    if (blocks[i] != NULL) {
      free_block(&blocks[i]);
    }
  }
}

static void free_ownerless(void) {
  for (size_t i = 0; i < COUNT; i++) {
    if (blocks[i] != NULL && ha_load_relaxed(&ha_page_of(blocks[i])->heap) != main_heap) {
      free_block(&blocks[i]);
    }
  }
}

static void check_rest(void) {
  for (size_t i = 0; i < COUNT; i++) {
    if (blocks[i] != NULL) {
      check_filled(blocks[i], SIZE);
    }
  }
}

/* Pages of the blocks that no heap has. */
static size_t ownerless_pages(void) {
  size_t pages = 0;
  for (size_t i = 0; i < COUNT; i++) {
    pages += blocks[i] != NULL && ha_page_block_index(ha_page_of(blocks[i]), blocks[i]) == 0 &&
             ha_load_relaxed(&ha_page_of(blocks[i])->heap) == NULL;
  }
  return pages;
}

/* ---- Threads, and the state before and after ---- */

static void *in_thread_do(void *run) {
  (*(void (**)(void))run)();
  return NULL;
}

static void in_thread(void (*run)(void)) {
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, in_thread_do, &run), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- Sparse pages of a living thread ---- */

/* Returns how many pages the calling thread has given up. */
static size_t make_sparse(void) {
  fill_pages();
  thin_out();
  size_t pages = ownerless_pages();
  CHECK(pages >= PAGES / 2, "only %zu of %d sparse pages were given up", pages, PAGES);
  CHECK_EQ(ha_abandoned_waiting_bytes(), pages * HA_SLICE);
  return pages;
}

static void release_all(size_t pages) {
  size_t bytes = 0;
  uint64_t resident = ha_resident_pages();
  CHECK_EQ(ha_abandoned_release(true, SIZE_MAX, &bytes), pages);
  CHECK_EQ(bytes, (resident - ha_resident_pages()) * HA_OS_PAGE);
  CHECK(bytes >= pages * FREE_OS_PAGES_LEAST * HA_OS_PAGE, "%zu pages gave %zu bytes", pages, bytes);
  CHECK_EQ(ha_abandoned_waiting_bytes(), (uint64_t)0);
  check_rest();
}

TEST(sparse_pages_of_a_living_thread_are_given_back) {
  struct hp_memstats before = begin();
  size_t pages = make_sparse();
  size_t bytes = 0;
  CHECK_EQ(ha_abandoned_release(false, SIZE_MAX, &bytes), (size_t)0); /* listed a moment ago */
  CHECK_EQ(ha_abandoned_release(true, 3, &bytes), (size_t)3);
  CHECK_EQ(ha_abandoned_waiting_bytes(), (pages - 3) * HA_SLICE);
  ha_abandoned_release(true, SIZE_MAX, &bytes);
  CHECK(bytes >= pages * FREE_OS_PAGES_LEAST * HA_OS_PAGE, "%zu pages gave %zu bytes", pages, bytes);
  size_t again = 0;
  CHECK_EQ(ha_abandoned_release(true, SIZE_MAX, &again), pages);
  CHECK_EQ(again, (size_t)0);
  check_rest();
  free_rest();
  check_nothing_left(&before);
}

static char *others[COUNT];
static size_t others_in_old_pages;

static void fill_again(void) {
  for (size_t i = 0; i < COUNT / 2; i++) {
    bool was_ownerless = ownerless_pages() > 0;
    others[i] = new_block();
    struct ha_page *page = ha_page_of(others[i]);
    CHECK(page->heap == ha_heap_of_thread(), "block %p came from a page of another heap", (void *)others[i]);
    others_in_old_pages += was_ownerless;
  }
  check_rest();
}

static void check_other_thread_takes_them(bool is_parked) {
  struct hp_memstats before = begin();
  size_t pages = make_sparse();
  if (is_parked) {
    release_all(pages);
  }
  size_t free_blocks = pages * (PER_PAGE - KEPT);
  uint64_t inuse = at_rest().HeapInuse;
  in_thread(fill_again);
  CHECK_EQ(ownerless_pages(), pages); /* that thread has ended */
  CHECK(others_in_old_pages == COUNT / 2 || others_in_old_pages >= free_blocks,
        "new pages were taken after %zu blocks though %zu were free", others_in_old_pages, free_blocks);
  uint64_t needed = (uint64_t)(is_parked ? (COUNT / 2) * BLOCK_SIZE : 0);
  CHECK(at_rest().HeapInuse <= inuse + needed + HA_SLICE, "in use grew by %lu", at_rest().HeapInuse - inuse);
  check_rest();
  for (size_t i = 0; i < COUNT / 2; i++) {
    free_block(&others[i]);
  }
  free_rest();
  check_nothing_left(&before);
}

TEST(another_thread_takes_sparse_pages) {
  check_other_thread_takes_them(false);
}

TEST(another_thread_takes_parked_pages) {
  check_other_thread_takes_them(true);
}

TEST(the_last_free_gives_the_page_to_the_arena) {
  struct hp_memstats before = begin();
  for (int round = 0; round < 4; round++) {
    size_t pages = make_sparse();
    if (round % 2 != 0) {
      release_all(pages);
    }
    if (round >= 2) {
      in_thread(free_ownerless);
      CHECK_EQ(ownerless_pages(), (size_t)0);
    }
    free_rest();
    check_nothing_left(&before);
  }
}

TEST(pages_of_ended_threads_go_when_they_are_empty) {
  struct hp_memstats before = begin();
  for (int is_parked = 0; is_parked < 2; is_parked++) {
    in_thread(fill_pages);
    in_thread(thin_out);
    size_t bytes = 0;
    if (is_parked) {
      ha_abandoned_release(true, SIZE_MAX, &bytes);
      CHECK(bytes >= PAGES / 2 * FREE_OS_PAGES_LEAST * HA_OS_PAGE, "only %zu bytes were given back", bytes);
    }
    check_rest();
    in_thread(free_rest);
    check_nothing_left(&before);
  }
}

/* ---- Stealing from a thread that does nothing ---- */

static pthread_barrier_t gate;
static struct ha_heap *victim;
static struct ha_page *wanted; /* a full page of the victim */

static void meet(void) {
  pthread_barrier_wait(&gate);
}

static void fill_and_wait(void) {
  fill_pages();
  victim = ha_heap_of_thread();
  meet();
  meet();
  free_rest();
  for (size_t i = 0; i < COUNT / 4; i++) {
    others[i] = new_block();
  }
  for (size_t i = 0; i < COUNT / 4; i++) {
    free_block(&others[i]);
  }
}

static pthread_t start(void (**run)(void)) {
  pthread_t thread;
  pthread_barrier_init(&gate, NULL, 2);
  CHECK_EQ(pthread_create(&thread, NULL, in_thread_do, run), 0);
  meet();
  return thread;
}

TEST(full_pages_of_a_waiting_thread_are_taken_and_given_back) {
  struct hp_memstats before = begin();
  void (*run)(void) = fill_and_wait;
  pthread_t thread = start(&run);
  CHECK_EQ(ownerless_pages(), (size_t)0);
  thin_out();
  CHECK(ha_heap_queued_bytes() >= (PAGES - 2) * HA_SLICE, "only %lu bytes are queued",
        ha_heap_queued_bytes());
  ha_abandoned_take_from_idle(victim, true);
  CHECK_EQ(ha_heap_queued_bytes(), (uint64_t)0);
  size_t pages = ownerless_pages();
  CHECK(pages >= PAGES - 2, "only %zu of %d pages were taken", pages, PAGES);
  release_all(pages);
  meet();
  pthread_join(thread, NULL);
  check_nothing_left(&before);
}

static void free_one_of_each(void) {
  for (size_t i = 0; i < COUNT; i += PER_PAGE) {
    free_block(&blocks[i]);
  }
}

TEST(pages_that_were_taken_nearly_full_are_given_back_when_they_have_become_sparse) {
  struct hp_memstats before = begin();
  void (*run)(void) = fill_and_wait;
  size_t bytes = 0;
  pthread_t thread = start(&run);
  free_one_of_each();
  ha_abandoned_take_from_idle(victim, true);
  size_t pages = ha_abandoned_release(true, SIZE_MAX, &bytes);
  CHECK(pages >= PAGES - 2, "only %zu of %d pages were taken", pages, PAGES);
  CHECK_EQ(ha_abandoned_waiting_bytes(), (uint64_t)0);
  for (size_t i = 0; i < COUNT; i++) {
    if (i % PER_PAGE != 1 && blocks[i] != NULL) {
      free_block(&blocks[i]);
    }
  }
  ha_outbox_flush(&main_heap->outbox);
  CHECK(ha_abandoned_waiting_bytes() >= pages * HA_SLICE, "%lu bytes are to be looked at, not %zu",
        ha_abandoned_waiting_bytes(), pages * HA_SLICE);
  bytes = 0;
  ha_abandoned_release(true, SIZE_MAX, &bytes);
  CHECK(bytes >= pages * FREE_OS_PAGES_LEAST * HA_OS_PAGE, "%zu pages gave %zu bytes", pages, bytes);
  check_rest();
  meet();
  pthread_join(thread, NULL);
  check_nothing_left(&before);
}

/* A thread was held up between its free into a full page and telling the owner, who has used that block and all others of
 * the page again by then. */
static void tell_late(struct ha_page *page) {
  const uint64_t queued = 1;
  CHECK(page->place == HA_PLACE_FULL && ha_remote_count(page->remote) == 0, "the page is not full");
  __atomic_fetch_or(&page->remote, queued, __ATOMIC_RELAXED);
  CHECK(ha_heap_wake(victim, page), "the heap is closed");
}

TEST(blocks_freed_into_a_full_page_that_was_taken_can_be_had_again) {
  struct hp_memstats before = begin();
  void (*run)(void) = fill_and_wait;
  pthread_t thread = start(&run);
  wanted = ha_page_of(blocks[COUNT / 2]);
  tell_late(wanted);
  ha_abandoned_take_from_idle(victim, true);
  CHECK(wanted->heap == NULL, "the page was not taken");
  free_block(&blocks[COUNT / 2]);
  ha_outbox_flush(&main_heap->outbox);
  CHECK(wanted->heap == main_heap, "nobody was told of the first free");
  meet();
  pthread_join(thread, NULL);
  check_nothing_left(&before);
}

/* The owner looks at its queue between the first two looks at it, and not between the next two. */
static void tend_when_asked(void) {
  fill_pages();
  victim = ha_heap_of_thread();
  for (int i = 0; i < 3; i++) {
    meet();
    meet();
    ha_heap_tend(victim);
  }
  meet();
  meet();
  free_rest();
}

static void queue_one(size_t page) {
  ha_outbox_flush(&ha_heap_of_thread()->outbox);
  wanted = ha_page_of(blocks[page * PER_PAGE]);
  CHECK(wanted->place == HA_PLACE_FULL, "page %zu is not full", page);
  free_block(&blocks[page * PER_PAGE]);
  CHECK(ha_remote_count(wanted->remote) == 1, "the page does not have its block");
}

TEST(an_owner_who_looks_now_and_then_keeps_its_pages) {
  begin();
  void (*run)(void) = tend_when_asked;
  pthread_t thread = start(&run);
  for (size_t i = 0; i < 3; i++) {
    queue_one(2 * i);
    if (i > 0) {
      ha_abandoned_take_from_idle(victim, false);
      CHECK(wanted->heap == victim, "the page was taken from an owner who has just looked");
    }
    meet();
    meet();
  }
  queue_one(8);
  ha_abandoned_take_from_idle(victim, false);
  CHECK(wanted->heap == victim, "the page was taken at the first look");
  ha_abandoned_take_from_idle(victim, false);
  CHECK(wanted->heap == NULL, "the page was left to an owner who does not look");
  meet();
  pthread_join(thread, NULL);
}

/* ---- Children made without fork handlers ---- */

/* As if the thread had been in the middle of closing its heap. */
TEST(a_child_does_not_wait_for_the_end_of_a_thread_it_does_not_have) {
  const unsigned seconds = 10;
  begin();
  void (*run)(void) = fill_and_wait;
  pthread_t thread = start(&run);
  pid_t child = _Fork();
  if (child == 0) {
    alarm(seconds);
    ha_store_relaxed(&victim->woken, HA_HEAP_CLOSED);
    free_rest();
    ha_outbox_flush(&ha_heap_of_thread()->outbox);
    _exit(0);
  }
  int status;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  meet();
  pthread_join(thread, NULL);
}

/* ---- Two threads want one page ---- */

#define RACE_ROUNDS 60
#define RACE_PAGES 300
#define RACE_SIZE (8 * 1024)
#define RACE_PER_PAGE (HA_SLICE / RACE_SIZE)
#define RACE_FILLED 64 /* bytes */

static char *race_blocks[RACE_PAGES][RACE_PER_PAGE];
static int is_freed; /* atomic */

static void free_race_block(size_t page, size_t i) {
  if (race_blocks[page][i] != NULL) {
    check_filled(race_blocks[page][i], RACE_FILLED);
    free(race_blocks[page][i]);
    race_blocks[page][i] = NULL;
  }
}

static void fill_race(void) {
  for (size_t page = 0; page < RACE_PAGES; page++) {
    for (size_t i = 0; i < RACE_PER_PAGE; i++) {
      race_blocks[page][i] = malloc(RACE_SIZE);
      fill(race_blocks[page][i], RACE_FILLED);
    }
  }
}

/* One block of each page first, then the others. */
static void free_race(void) {
  for (size_t page = RACE_PAGES; page-- > 0;) {
    free_race_block(page, 1);
  }
  for (size_t i = 0; i < RACE_PAGES * RACE_PER_PAGE; i++) {
    free_race_block(i / RACE_PER_PAGE, i % RACE_PER_PAGE);
  }
  ha_store_release(&is_freed, 1);
}

static void fill_then_free_race(void) {
  fill_race();
  victim = ha_heap_of_thread();
  meet();
  meet();
  free_race();
  meet();
}

/* The owner comes back to free into its full pages in the moment they are taken from it. */
TEST_WITHIN(120, an_owner_and_a_thief_can_want_the_same_page) {
  struct hp_memstats before = begin();
  void (*run)(void) = fill_then_free_race;
  size_t bytes = 0;
  for (int round = 0; round < RACE_ROUNDS; round++) {
    ha_store_release(&is_freed, 0);
    pthread_t thread = start(&run);
    for (size_t page = 0; page < RACE_PAGES; page++) {
      free_race_block(page, 0);
    }
    meet();
    while (!ha_load_acquire(&is_freed)) {
      ha_abandoned_take_from_idle(victim, true);
      ha_abandoned_release(true, RACE_PAGES / 10, &bytes);
    }
    meet();
    pthread_join(thread, NULL);
  }
  test_note("%zu bytes given back in %d rounds", bytes, RACE_ROUNDS);
  check_nothing_left(&before);
}

static void fill_and_free_half_of_race(void) {
  fill_race();
  for (size_t i = 0; i < RACE_PAGES * RACE_PER_PAGE / 2; i++) {
    free_race_block(i / (RACE_PER_PAGE / 2), RACE_PER_PAGE / 2 + i % (RACE_PER_PAGE / 2));
  }
}

static void free_race_when_asked(void) {
  meet();
  meet();
  free_race();
  meet();
}

/* The first free into a page of an ended thread adopts it, also in the moment it is looked into. */
TEST_WITHIN(120, a_page_can_be_adopted_while_it_is_looked_into) {
  struct hp_memstats before = begin();
  void (*run)(void) = free_race_when_asked;
  size_t bytes = 0;
  for (int round = 0; round < RACE_ROUNDS; round++) {
    in_thread(fill_and_free_half_of_race);
    ha_store_release(&is_freed, 0);
    pthread_t thread = start(&run);
    meet();
    while (!ha_load_acquire(&is_freed)) {
      ha_abandoned_release(true, RACE_PAGES, &bytes);
    }
    meet();
    pthread_join(thread, NULL);
  }
  test_note("%zu bytes given back in %d rounds", bytes, RACE_ROUNDS);
  check_nothing_left(&before);
}
