/* SPDX-License-Identifier: MIT */
/*
 * A call after which the thread's label set is restored, also when an exception or the end of the thread
 * unwinds the stack past it.
 *
 * The compiler's cleanups would do, but what they need is in libgcc_s, which every process would then load at
 * its start. So the frame is written by hand: the set to restore is in rbx, and the unwinder, when it passes
 * the frame, calls `personality`, which asks it for that register and restores the set right there, without
 * code to land on. The unwinder is that of whoever threw, and is asked by the function of its own library.
 */
#include <dlfcn.h>
#include <link.h>

#include "base/atomic.h"
#include "labels/context.h"

/* Of the C++ ABI for Itanium, as all unwinders have it. */
enum { CLEANUP_PHASE = 2, CONTINUE_UNWIND = 8, RBX = 3 };
struct _Unwind_Context;
typedef uintptr_t get_register_fn(struct _Unwind_Context *context, int number);
extern get_register_fn _Unwind_GetGR __attribute__((weak));

__asm__(".pushsection .text\n"
        ".globl ha_labels_call\n"
        ".hidden ha_labels_call\n"
        ".type ha_labels_call, @function\n"
        "ha_labels_call:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, ha_labels_personality\n" /* relative to here, four bytes */
        "pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset rbp, -16\n"
        "movq %rsp, %rbp\n"
        ".cfi_def_cfa_register rbp\n"
        "pushq %rbx\n"
        ".cfi_offset rbx, -24\n"
        "subq $8, %rsp\n"
        "movl %edx, %ebx\n"
        "movq %rdi, %rax\n"
        "movq %rsi, %rdi\n"
        "callq *%rax\n"
        "movq ha_labels_id@gottpoff(%rip), %rax\n"
        "movl %ebx, %fs:(%rax)\n"
        "movq -8(%rbp), %rbx\n"
        "leave\n"
        ".cfi_def_cfa rsp, 8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size ha_labels_call, .-ha_labels_call\n"
        ".popsection\n");

static const struct link_map *object_of(uintptr_t address) {
  struct dl_find_object object;
  return _dl_find_object((void *)address, &object) == 0 ? object.dlfo_link_map : NULL;
}

static bool is_in(get_register_fn *function, const struct link_map *library) {
  return function != NULL && object_of((uintptr_t)function) == library;
}

/* _Unwind_GetGR of the library that the unwinder is in, or NULL. */
static get_register_fn *find_get_register(uintptr_t unwinder) {
  static get_register_fn *last; /* atomic; found by name */
  const struct link_map *library = object_of(unwinder);
  if (library == NULL || is_in(&_Unwind_GetGR, library)) {
    return library != NULL ? &_Unwind_GetGR : NULL;
  }
  get_register_fn *found = ha_load_relaxed(&last);
  if (is_in(found, library)) {
    return found;
  }
  /* Loaded in a scope of its own: by pthread_cancel, or with a plugin. */
  void *handle = dlopen(library->l_name, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == NULL) {
    return NULL;
  }
  found = (get_register_fn *)dlsym(handle, "_Unwind_GetGR");
  dlclose(handle); /* it stays: it is running */
  ha_store_relaxed(&last, found);
  return is_in(found, library) ? found : NULL;
}

/* Called by the unwinder when it looks at the frame above, and when it passes it. */
__attribute__((used)) int ha_labels_personality(int version, int actions, uint64_t exception_class,
                                                void *exception, struct _Unwind_Context *context);

int ha_labels_personality(int version, int actions, uint64_t exception_class, void *exception,
                          struct _Unwind_Context *context) {
  (void)version, (void)exception_class, (void)exception;
  if ((actions & CLEANUP_PHASE) != 0) {
    get_register_fn *get_register = find_get_register((uintptr_t)__builtin_return_address(0));
    if (get_register != NULL) {
      ha_labels_id = (uint32_t)get_register(context, RBX);
    }
  }
  return CONTINUE_UNWIND;
}
