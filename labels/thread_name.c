/* SPDX-License-Identifier: MIT */
/*
 * As any other label: a draft of one, interned, merged.
 */
#include "labels/thread_name.h"

#include <errno.h>
#include <sys/prctl.h>

#define NAME_SIZE 16 /* the kernel's TASK_COMM_LEN */

HA_NOINLINE uint32_t ha_labels_with_thread(uint32_t set) {
  char name[NAME_SIZE + 1] = "";
  int saved = errno;
  int error = prctl(PR_GET_NAME, name);
  errno = saved;
  if (error != 0) {
    return set;
  }
  struct ha_label_draft draft;
  ha_label_draft_begin(&draft);
  ha_label_draft_put(&draft, HA_LABEL_THREAD, name);
  return ha_label_set_merge(ha_label_set_intern(&draft), set);
}
