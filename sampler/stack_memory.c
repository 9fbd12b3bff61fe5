/* SPDX-License-Identifier: MIT */
/*
 * The top of a thread's stack is known without asking: for the main thread ld.so tells it, for others glibc
 * keeps the thread's descriptor, which the thread pointer points to, right above the stack. From there down
 * OS pages are asked for one by one, once. The question is a system call that looks at the address before
 * anything else: it fails with EFAULT, or with EINVAL because its other argument makes no sense.
 */
#include "sampler/stack_memory.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/os.h"

#define OWN_STACK_MAX ((uintptr_t)256 * 1024 * 1024)
#define ASKED_AT_ONCE                                                                                        \
  ((uintptr_t)8 * 1024 * 1024) /* more than that deeper than ever before: page by page each time */
#define OUTERMOST_FRAMES                                                                                     \
  ((uintptr_t)64 * 1024) /* from the outermost frame to the top: thread-local storage */
#define LOWEST_ADDRESS ((uintptr_t)HA_OS_PAGE)

extern void *__libc_stack_end;

/* What is known to be readable of the thread's own stack: [low, high). */
static HA_TLS struct {
  uintptr_t low;
  uintptr_t high;
} own;

static bool is_readable(uintptr_t address) {
  const long no_such_operation = ~0L;
  long result = syscall(SYS_rt_sigprocmask, no_such_operation, address, NULL, sizeof(uint64_t));
  return !(result == -1 && errno == EFAULT);
}

static uintptr_t top_of_stack(uintptr_t sp) {
  uintptr_t thread = ha_align_down((uintptr_t)__builtin_thread_pointer(), sizeof(uintptr_t));
  return thread > sp ? thread : (uintptr_t)__libc_stack_end;
}

/* Nothing is known but the top. In this order, since a signal handler that walks, too, may come between: the range is
 * empty until it is right. */
static void forget_own(uintptr_t top) {
  own.low = UINTPTR_MAX;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  own.high = top;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  own.low = top;
}

void ha_stack_memory_begin(struct ha_stack_memory *memory, uintptr_t sp) {
  *memory = (struct ha_stack_memory){0};
  if (sp >= own.low && sp < own.high) {
    memory->low = own.low;
    memory->high = own.high;
    return;
  }
  uintptr_t top = top_of_stack(sp);
  if (top <= sp || top - sp > OWN_STACK_MAX) {
    return;
  }
  if (own.high != top) {
    forget_own(top);
  }
  uintptr_t page = ha_align_down(sp, HA_OS_PAGE);
  if (own.low - page > ASKED_AT_ONCE) {
    return;
  }
  uintptr_t low = own.low;
  for (uintptr_t at = ha_align_down(low - 1, HA_OS_PAGE); at >= page; at -= HA_OS_PAGE) {
    if (!is_readable(at)) {
      return; /* a gap: this is another stack below ours */
    }
    low = at;
  }
  memory->low = low;
  memory->high = top;
}

void ha_stack_memory_end(const struct ha_stack_memory *memory, uintptr_t sp) {
  /* Memory that merely touches the stack may be unmapped one day; frames that lead up the stack are on it. */
  bool is_on_stack = sp >= own.low || own.high - sp < OUTERMOST_FRAMES;
  if (memory->high == own.high && memory->low < own.low && is_on_stack) {
    own.low = memory->low;
  }
}

bool ha_stack_memory_check_slow(struct ha_stack_memory *memory, uintptr_t address) {
  if (address < LOWEST_ADDRESS || address % sizeof(uintptr_t) != 0) {
    return false;
  }
  uintptr_t page = ha_align_down(address, HA_OS_PAGE);
  if (page != memory->page && !is_readable(page)) {
    return false;
  }
  memory->page = page;
  return true;
}
