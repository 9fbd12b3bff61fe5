/* SPDX-License-Identifier: MIT */
/*
 * What could break a user here: a thread that loses its creator's labels, threads that are listed for ever or
 * under an earlier thread of the same id, memory that grows with every thread that ever was.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "base/meta.h"
#include "labels/context.h"
#include "sampler/thread_list.h"
#include "tests/test.h"

#define THREADS 100
#define CHURN 3000

int thrd_create(unsigned long *thread, int (*start)(void *), void *arg);
int thrd_join(unsigned long thread, int *result);

static uint32_t make_set(const char *key, const char *value) {
  struct ha_label_draft draft;
  ha_label_draft_begin(&draft);
  ha_label_draft_put(&draft, key, value);
  return ha_label_set_intern(&draft);
}

static void *note_labels(void *arg) {
  *(uint32_t *)arg = ha_labels_current();
  return NULL;
}

static int note_labels_c11(void *arg) {
  note_labels(arg);
  return 7;
}

TEST(a_thread_begins_with_its_creators_labels) {
  pthread_t thread;
  unsigned long c11;
  int result;
  uint32_t first = 99, second = 99, third = 99;
  CHECK_EQ(pthread_create(&thread, NULL, note_labels, &first), 0);
  pthread_join(thread, NULL);
  ha_labels_id = make_set("a", "1");
  CHECK_EQ(pthread_create(&thread, NULL, note_labels, &second), 0);
  pthread_join(thread, NULL);
  CHECK_EQ(thrd_create(&c11, note_labels_c11, &third), 0);
  thrd_join(c11, &result);
  CHECK_EQ(first, HA_LABEL_SET_EMPTY);
  CHECK_EQ(second, ha_labels_id);
  CHECK_EQ(third, ha_labels_id);
  CHECK_EQ(result, 7);
}

static pthread_barrier_t begun, ending;

static void *stay(void *arg) {
  (void)arg;
  pthread_barrier_wait(&begun);
  pthread_barrier_wait(&ending);
  return NULL;
}

static struct {
  unsigned all;
  unsigned created;
  uintptr_t entry;
} seen;

static void look(struct ha_thread *thread, void *arg) {
  (void)arg;
  seen.all++;
  seen.created += thread->creator != NULL;
  seen.entry = thread->creator != NULL ? thread->entry : seen.entry;
}

static void look_at_all(void) {
  memset(&seen, 0, sizeof seen);
  ha_thread_visit(look, NULL);
}

TEST(threads_are_listed_from_their_beginning_to_their_end) {
  pthread_t threads[THREADS];
  ha_config_load();
  pthread_barrier_init(&begun, NULL, THREADS + 1);
  pthread_barrier_init(&ending, NULL, THREADS + 1);
  for (int i = 0; i < THREADS; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, stay, NULL), 0);
  }
  pthread_barrier_wait(&begun);
  look_at_all();
  CHECK_EQ(seen.all, THREADS + 1u);
  CHECK_EQ(seen.created, (unsigned)THREADS);
  CHECK_EQ(seen.entry, (uintptr_t)stay);
  CHECK(ha_thread_creator(getpid()) == NULL, "the main thread was created by somebody");
  pthread_barrier_wait(&ending);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  look_at_all();
  CHECK_EQ(seen.all, 1u);
}

static void *leave_by_exit(void *arg) {
  pthread_exit(arg);
}

TEST(threads_that_came_and_went_leave_nothing) {
  pthread_t thread;
  ha_config_load();
  CHECK_EQ(pthread_create(&thread, NULL, leave_by_exit, NULL), 0);
  pthread_join(thread, NULL);
  uint64_t before = ha_meta_bytes(HA_META_PROFILE);
  for (int i = 0; i < CHURN; i++) {
    CHECK_EQ(pthread_create(&thread, NULL, leave_by_exit, NULL), 0);
    pthread_join(thread, NULL);
  }
  CHECK_EQ(ha_meta_bytes(HA_META_PROFILE), before);
}

TEST(a_forked_child_lists_only_itself) {
  pthread_t threads[4];
  ha_config_load();
  pthread_barrier_init(&begun, NULL, 5);
  pthread_barrier_init(&ending, NULL, 5);
  for (int i = 0; i < 4; i++) {
    CHECK_EQ(pthread_create(&threads[i], NULL, stay, NULL), 0);
  }
  pthread_barrier_wait(&begun);
  pid_t pid = fork();
  if (pid == 0) {
    ha_thread_after_fork_in_child();
    look_at_all();
    _exit(seen.all == 1 && seen.created == 0 ? 0 : 1);
  }
  CHECK_CHILD(pid);
  pthread_barrier_wait(&ending);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
}
