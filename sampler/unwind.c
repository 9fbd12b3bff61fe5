/* SPDX-License-Identifier: MIT */
/*
 * Three walkers behind one function:
 *
 *   rules           the default: unwind rules from the programs' own tables, cached (rule_cache.h). Code without
 *                   unwind information is passed by its frame pointer, where that leads upwards; where the
 *                   information says more than a rule can hold, the walk ends.
 *                   HALLOC_UNWIND=dwarf has libunwind work the rules out (resolver.h), as a second opinion.
 *   frame pointers  for programs built with them; asks for no tables at all.
 *   libgcc          the unwinder of C++ exceptions, as reference.
 *
 * libunwind and libgcc are loaded at start-up, and only where they were asked for: other processes shall not pay for
 * more libraries. The first two walkers trust nothing: each frame must lie above the last, and every word is known to
 * be readable before it is read (stack_memory.h), so a wild pointer ends a walk and never faults.
 */
#include "sampler/unwind.h"

#include <dlfcn.h>
#include <errno.h>
#include <ucontext.h>
#include <unwind.h>

#include "base/atomic.h"
#include "base/config.h"
#include "base/log.h"
#include "base/os.h"
#include "base/plugin.h"
#include "sampler/resolver.h"
#include "sampler/rule_cache.h"
#include "sampler/stack_memory.h"
#include "sampler/trail.h"

/* A frame larger than this is taken for a wild pointer: where frame pointers are guessed, and where rules
 * say. */
#define GUESSED_FRAME_MAX ((uintptr_t)128 * 1024)
#define FRAME_MAX ((uintptr_t)64 * 1024 * 1024)
#define WORD sizeof(uintptr_t)
#define UNWIND_LIBRARY_NAME "libhalloc-unwind.so.0"
#define LOWEST_CODE_ADDRESS ((uintptr_t)HA_OS_PAGE)
#define HIGHEST_CODE_ADDRESS ((uintptr_t)1 << 47)

/* Only present when the library is linked statically: the code is then gathered in one named section. */
extern const char __start_halloc_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_halloc_text[] __attribute__((weak, visibility("hidden")));

static struct {
  uintptr_t own_start; /* code of halloc itself; both written with equal values by whoever comes first */
  uintptr_t own_end;
  uint64_t truncated;
} unwinder;

struct walk {
  uintptr_t *frames;
  uint32_t count;
  uint32_t max;
  bool is_of_signal; /* what one interrupted: halloc's own frames are shown, and a cut is not counted */
};

static void find_own_code(void) {
  uintptr_t start = (uintptr_t)__start_halloc_text;
  uintptr_t end = (uintptr_t)__stop_halloc_text;
  struct dl_find_object object;
  if (start == 0 && _dl_find_object((void *)(uintptr_t)&find_own_code, &object) == 0) {
    start = (uintptr_t)object.dlfo_map_start;
    end = (uintptr_t)object.dlfo_map_end;
  }
  ha_store_relaxed(&unwinder.own_start, start);
  ha_store_release(&unwinder.own_end, end); /* pairs with the acquire in is_own_code */
}

static bool is_own_code(uintptr_t address) {
  uintptr_t end = ha_load_acquire(&unwinder.own_end);
  return address < end && address >= ha_load_relaxed(&unwinder.own_start);
}

bool ha_unwind_is_own(uintptr_t address) {
  if (ha_load_acquire(&unwinder.own_end) == 0) {
    find_own_code();
  }
  return is_own_code(address);
}

static bool is_code_address(uintptr_t address) {
  return address >= LOWEST_CODE_ADDRESS && address < HIGHEST_CODE_ADDRESS;
}

/* False when the walk should end. halloc's own frames are left out where the program's calls are meant, also between
 * others: a new-handler that allocates is called by us. */
static bool take_frame(struct walk *walk, uintptr_t return_address) {
  if (!is_code_address(return_address)) {
    return false;
  }
  if (!walk->is_of_signal && is_own_code(return_address)) {
    return true;
  }
  if (walk->count == walk->max) {
    ha_add_relaxed(&unwinder.truncated, !walk->is_of_signal);
    return false;
  }
  walk->frames[walk->count++] = return_address;
  return true;
}

/* The registers of the frame being looked at, and what of the stack can be read. */
struct registers {
  uintptr_t pc; /* where it will go on, or exactly where it was interrupted */
  uintptr_t sp;
  uintptr_t fp;
  uintptr_t base;       /* rbx, while has_base */
  bool has_base;        /* rbx is being followed; so are halloc's own frames, and rules are found anew */
  bool wants_base;      /* the walk ended for want of it */
  bool is_outermost;    /* the walk ended because the code at pc has no caller */
  bool was_interrupted; /* pc is an address to execute, not one to return to */
  struct ha_stack_memory memory;
};

/* Steps to the caller whose CFA this is. */
static bool leave_frame(struct registers *registers, uintptr_t cfa, uintptr_t caller_fp) {
  uintptr_t return_address;
  if (cfa <= registers->sp || cfa - registers->sp > FRAME_MAX ||
      !ha_stack_memory_read(&registers->memory, cfa - WORD, &return_address)) {
    return false;
  }
  registers->pc = return_address;
  registers->sp = cfa;
  registers->fp = caller_fp;
  registers->was_interrupted = false;
  return true;
}

/* By the frame pointer: it points at the caller's, with the return address above. */
static bool step_by_frame_pointer(struct registers *registers) {
  uintptr_t fp = registers->fp;
  uintptr_t caller_fp;
  if (fp < registers->sp || fp - registers->sp > GUESSED_FRAME_MAX || fp % WORD != 0 ||
      !ha_stack_memory_read(&registers->memory, fp, &caller_fp)) {
    return false;
  }
  return leave_frame(registers, fp + 2 * WORD, caller_fp);
}

/* The kernel leaves the interrupted registers in a ucontext at the handler's return. */
static bool step_over_signal(struct registers *registers) {
  const ucontext_t *context = (const ucontext_t *)registers->sp;
  uintptr_t pc, sp, fp;
  if (!ha_stack_memory_read(&registers->memory, (uintptr_t)&context->uc_mcontext.gregs[REG_RIP], &pc) ||
      !ha_stack_memory_read(&registers->memory, (uintptr_t)&context->uc_mcontext.gregs[REG_RSP], &sp) ||
      !ha_stack_memory_read(&registers->memory, (uintptr_t)&context->uc_mcontext.gregs[REG_RBP], &fp)) {
    return false;
  }
  /* From here on possibly another stack: a handler's may lie anywhere. */
  ha_stack_memory_begin(&registers->memory, sp);
  registers->pc = pc;
  registers->sp = sp;
  registers->fp = fp;
  registers->was_interrupted = true;
  registers->has_base = false;
  return true;
}

/* The caller's rbx, if it is being followed. */
static void step_base(struct registers *registers, const struct ha_rule *rule, uintptr_t cfa) {
  uintptr_t saved_at = cfa + (uintptr_t)(intptr_t)rule->base_offset;
  if (rule->base_place == HA_BASE_LOST ||
      (rule->base_place == HA_BASE_AT_CFA &&
       !ha_stack_memory_read(&registers->memory, saved_at, &registers->base))) {
    registers->has_base = false;
  }
}

static bool step_by_rule(struct registers *registers) {
  uintptr_t pc = registers->pc - (registers->was_interrupted ? 0 : 1);
  struct ha_rule rule = registers->has_base ? ha_rule_find(pc) : ha_rule_lookup(pc);
  uintptr_t cfa = 0;
  switch (rule.kind) {
  case HA_RULE_STACK:
    cfa = registers->sp + (uintptr_t)(intptr_t)rule.cfa_offset;
    break;
  case HA_RULE_FRAME:
    cfa = registers->fp + (uintptr_t)(intptr_t)rule.cfa_offset;
    break;
  case HA_RULE_BASE:
    registers->wants_base = !registers->has_base;
    if (registers->wants_base) {
      return false;
    }
    cfa = registers->base + (uintptr_t)(intptr_t)rule.cfa_offset;
    break;
  case HA_RULE_LOADED:
    if (!ha_stack_memory_read(&registers->memory, registers->fp + (uintptr_t)(intptr_t)rule.cfa_offset,
                              &cfa)) {
      return false;
    }
    break;
  case HA_RULE_SIGNAL:
    return step_over_signal(registers);
  case HA_RULE_LAST:
    registers->is_outermost = true;
    return false;
  case HA_RULE_UNKNOWN:
    return step_by_frame_pointer(registers);
  default:
    return false;
  }
  uintptr_t caller_fp = registers->fp;
  uintptr_t base = rule.frame_place == HA_FRAME_AT_CFA ? cfa : registers->fp;
  uintptr_t saved_at = base + (uintptr_t)(intptr_t)rule.frame_offset;
  if (rule.frame_place != HA_FRAME_KEPT && !ha_stack_memory_read(&registers->memory, saved_at, &caller_fp)) {
    return false;
  }
  if (registers->has_base) {
    step_base(registers, &rule, cfa);
  }
  return leave_frame(registers, cfa, caller_fp);
}

/* What the words that a step reads depend on, for trails. */
struct dependence {
  intptr_t saved; /* as in struct ha_trail_step */
  intptr_t frame;
};

/* As step_by_rule for what nearly all frames are: a rule at hand, of the two plain kinds, and all words in the known part
 * of the stack. False: nothing was done. */
HA_INLINE bool step_quickly(struct registers *registers, struct dependence *ret) {
  uint64_t word = ha_rule_peek(registers->pc - 1);
  struct ha_rule rule = ha_rule_unpack(word);
  if (word == 0 || rule.kind > HA_RULE_FRAME || registers->was_interrupted) {
    return false;
  }
  uintptr_t sp = registers->sp;
  uintptr_t fp = registers->fp;
  uintptr_t low = registers->memory.low;
  uintptr_t size = registers->memory.high - low;
  uintptr_t cfa = (rule.kind == HA_RULE_STACK ? sp : fp) + (uintptr_t)(intptr_t)rule.cfa_offset;
  uintptr_t return_at = cfa - WORD;
  uintptr_t saved_at =
      (rule.frame_place == HA_FRAME_AT_FRAME ? fp : cfa) + (uintptr_t)(intptr_t)rule.frame_offset;
  saved_at = rule.frame_place == HA_FRAME_KEPT ? return_at : saved_at;
  if (cfa <= sp || cfa - sp > FRAME_MAX || return_at - low >= size || saved_at - low >= size) {
    return false;
  }
  registers->pc = *(const uintptr_t *)return_at;
  registers->fp = rule.frame_place == HA_FRAME_KEPT ? fp : *(const uintptr_t *)saved_at;
  registers->sp = cfa;
  bool by_stack = rule.kind == HA_RULE_STACK;
  bool is_lost =
      by_stack && rule.frame_place == HA_FRAME_AT_FRAME; /* where nothing checks the frame pointer */
  ret->saved = is_lost ? HA_TRAIL_NOWHERE : (intptr_t)(saved_at - cfa) / (intptr_t)WORD;
  ret->frame = by_stack ? HA_TRAIL_BY_STACK : rule.cfa_offset / (intptr_t)WORD;
  return true;
}

/* Follows the trail from where it is met, as far as it leads and there is room for frames. False at the outermost frame. */
HA_INLINE bool follow_trail(struct registers *registers, struct ha_trail_walk *path, struct walk *walk) {
  uint32_t met = registers->was_interrupted ? 0 : ha_trail_meet(path, registers->pc, registers->sp);
  if (met == 0) {
    return true;
  }
  const struct ha_trail *trail = path->trail;
  uint32_t index = met - 1;
  uintptr_t *frame = walk->frames + walk->count;
  const uintptr_t *end = walk->frames + walk->max;
  while (index > 0 && frame < end && ha_trail_leads_to(trail, index - 1, &registers->fp)) {
    index--;
    *frame++ = ha_trail_pc(trail, index);
  }
  walk->count = (uint32_t)(frame - walk->frames);
  ha_trail_followed(path, met - 1, index);
  registers->pc = ha_trail_pc(trail, index);
  registers->sp = ha_trail_sp(trail, index);
  registers->is_outermost = index == 0 && trail->is_whole;
  return !registers->is_outermost;
}

/* A step that is not to be found on the trail, on which halloc's own frames do not lie, nor interrupted ones. */
HA_INLINE bool step_anew(struct registers *registers, struct ha_trail_walk *path) {
  struct dependence dependence = {HA_TRAIL_NOWHERE, HA_TRAIL_BY_STACK};
  if (!step_quickly(registers, &dependence) && !step_by_rule(registers)) {
    return false;
  }
  bool is_on_trail = path->trail != NULL && registers->memory.high == path->trail->high &&
                     registers->sp % WORD == 0 && !registers->was_interrupted;
  if (ha_likely(is_on_trail && !is_own_code(registers->pc))) {
    ha_trail_add(path, registers->sp, dependence.saved, dependence.frame);
  } else {
    ha_trail_break(path);
  }
  return is_code_address(registers->pc);
}

/* Out of halloc, which is compiled with frame pointers and so needs no rules. False if that leads nowhere. */
static bool leave_own_code(struct registers *registers) {
  do {
    uintptr_t fp = registers->fp;
    uintptr_t size = registers->memory.high - registers->memory.low;
    bool is_on_known_stack = size > 2 * WORD && fp - registers->memory.low <= size - 2 * WORD;
    if (!is_on_known_stack || fp < registers->sp || fp % WORD != 0) {
      if (!step_by_frame_pointer(registers)) {
        return false;
      }
      continue;
    }
    registers->pc = ((const uintptr_t *)fp)[1];
    registers->fp = ((const uintptr_t *)fp)[0];
    registers->sp = fp + 2 * WORD;
  } while (is_own_code(registers->pc));
  return true;
}

/* The walk again from here, following rbx as well: slower, for stacks on which a frame is found by it. */
static HA_COLD void walk_with_base(struct walk *walk) {
  struct registers registers = {.has_base = true, .was_interrupted = true};
  __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2\n\tmovq %%rbx, %3"
                   : "=&r"(registers.pc), "=&r"(registers.sp), "=&r"(registers.fp), "=&r"(registers.base));
  ha_stack_memory_begin(&registers.memory, registers.sp);
  walk->count = 0;
  while (step_by_rule(&registers) && take_frame(walk, registers.pc + registers.was_interrupted)) {
  }
}

static void finish_walk(struct walk *walk, const struct registers *registers) {
  ha_stack_memory_end(&registers->memory, registers->sp);
  if (ha_unlikely(registers->wants_base)) {
    walk_with_base(walk);
  }
}

/* Where a walk begins: at a frame of halloc's that keeps its frame pointer. */
static bool begin_walk(struct registers *registers, uintptr_t frame) {
  *registers = (struct registers){.sp = frame, .fp = frame};
  ha_stack_memory_begin(&registers->memory, frame);
  return leave_own_code(registers);
}

static void walk_stack(struct walk *walk, uintptr_t frame) {
  struct registers registers;
  struct dependence dependence; /* for trails, which this walk leaves alone */
  bool by_rules = ha_config.unwind != HA_UNWIND_FP;
  bool is_there = begin_walk(&registers, frame);
  /* An interrupted frame is given one further, since one is taken off when addresses are named. */
  while (is_there && take_frame(walk, registers.pc + registers.was_interrupted)) {
    is_there = by_rules ? step_quickly(&registers, &dependence) || step_by_rule(&registers)
                        : step_by_frame_pointer(&registers);
  }
  finish_walk(walk, &registers);
}

static void walk_on_trail(struct walk *walk, uintptr_t frame, struct ha_trail_walk *path) {
  struct registers registers;
  bool is_there = begin_walk(&registers, frame);
  ha_trail_begin(path, registers.memory.high);
  if (path->trail != NULL) {
    ha_trail_add(path, registers.sp, HA_TRAIL_NOWHERE, HA_TRAIL_BY_STACK);
  }
  while (is_there) {
    if (!take_frame(walk, registers.pc + registers.was_interrupted)) {
      ha_trail_drop_last(path);
      break;
    }
    is_there = follow_trail(&registers, path, walk) && step_anew(&registers, path);
  }
  path->is_whole = registers.is_outermost;
  if (registers.wants_base) {
    ha_trail_break(path); /* it will be another stack */
  }
  finish_walk(walk, &registers);
}

/* From where a signal interrupted the thread. The first rule is found anew: there are too many such addresses to keep
 * them all. follows_base: rbx is followed all the way. */
static void walk_interrupted(struct walk *walk, const ucontext_t *context, bool follows_base) {
  const greg_t *saved = context->uc_mcontext.gregs;
  struct registers registers = {
      .pc = (uintptr_t)saved[REG_RIP],
      .sp = (uintptr_t)saved[REG_RSP],
      .fp = (uintptr_t)saved[REG_RBP],
      .base = (uintptr_t)saved[REG_RBX],
      .has_base = true,
      .was_interrupted = true,
  };
  ha_stack_memory_begin(&registers.memory, registers.sp);
  bool by_rules = ha_config.unwind != HA_UNWIND_FP;
  struct dependence dependence; /* for trails, which this walk leaves alone */
  walk->count = 0;
  bool is_there = take_frame(walk, registers.pc + 1) &&
                  (by_rules ? step_by_rule(&registers) : step_by_frame_pointer(&registers));
  registers.has_base &= follows_base;
  while (is_there && take_frame(walk, registers.pc + registers.was_interrupted)) {
    is_there =
        by_rules ? (!registers.has_base && step_quickly(&registers, &dependence)) || step_by_rule(&registers)
                 : step_by_frame_pointer(&registers);
  }
  ha_stack_memory_end(&registers.memory, registers.sp);
  if (ha_unlikely(registers.wants_base && !follows_base)) {
    walk_interrupted(walk, context, true);
  }
}

/* libgcc's two functions, once they are wanted and loaded. */
static _Unwind_Reason_Code (*libgcc_backtrace)(_Unwind_Trace_Fn, void *);
static _Unwind_Ptr (*libgcc_ip)(struct _Unwind_Context *, int *);

static _Unwind_Reason_Code on_libgcc_frame(struct _Unwind_Context *context, void *arg) {
  int was_interrupted = 0;
  uintptr_t pc = libgcc_ip(context, &was_interrupted);
  return take_frame(arg, pc + (was_interrupted != 0)) ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void load_libgcc(void) {
  void *libgcc = dlopen("libgcc_s.so.1", RTLD_NOW);
  if (libgcc == NULL) {
    ha_log("HALLOC_UNWIND=libgcc: libgcc_s.so.1 could not be loaded; auto is used");
    return;
  }
  libgcc_ip = (_Unwind_Ptr(*)(struct _Unwind_Context *, int *))dlsym(libgcc, "_Unwind_GetIPInfo");
  ha_store_release(&libgcc_backtrace,
                   (_Unwind_Reason_Code(*)(_Unwind_Trace_Fn, void *))dlsym(libgcc, "_Unwind_Backtrace"));
}

static void load_libunwind(void) {
  const char *reason;
  ha_resolve_fn *resolve =
      (ha_resolve_fn *)ha_plugin_symbol(UNWIND_LIBRARY_NAME, "ha_libunwind_resolve", &reason);
  if (resolve == NULL) {
    ha_log("HALLOC_UNWIND=dwarf: " UNWIND_LIBRARY_NAME " could not be loaded; auto is used: %s", reason);
    return;
  }
  resolve((uintptr_t)&load_libunwind); /* allocates what it needs once, here and not inside malloc */
  ha_rules_resolve_with(resolve);
}

void ha_unwind_prepare(void) {
  if (ha_config.unwind == HA_UNWIND_LIBGCC) {
    load_libgcc();
  } else if (ha_config.unwind == HA_UNWIND_DWARF) {
    load_libunwind();
  }
}

/* path: NULL for no trail. */
HA_INLINE uint32_t unwind(uintptr_t *frames, uint32_t max, uintptr_t frame, struct ha_trail_walk *path) {
  struct walk walk = {frames, 0, max, false};
  int saved = errno;
  if (ha_load_acquire(&unwinder.own_end) == 0) {
    find_own_code();
  }
  if (ha_unlikely(ha_load_acquire(&libgcc_backtrace) != NULL)) {
    libgcc_backtrace(on_libgcc_frame, &walk);
  } else if (path != NULL && ha_config.unwind != HA_UNWIND_FP) {
    walk_on_trail(&walk, frame, path);
  } else {
    walk_stack(&walk, frame);
  }
  errno = saved;
  return walk.count;
}

HA_NOINLINE uint32_t ha_unwind(uintptr_t *frames, uint32_t max) {
  return unwind(frames, max, (uintptr_t)__builtin_frame_address(0), NULL);
}

HA_NOINLINE uint32_t ha_unwind_on_trail(uintptr_t *frames, uint32_t max, struct ha_trail_walk *path) {
  path->trail = NULL;
  return unwind(frames, max, (uintptr_t)__builtin_frame_address(0), path);
}

uint32_t ha_unwind_interrupted(const void *context, uintptr_t *frames, uint32_t max) {
  struct walk walk = {frames, 0, max, true};
  int saved = errno;
  walk_interrupted(&walk, context, false);
  errno = saved;
  return walk.count;
}

uint64_t ha_unwind_truncated(void) {
  return ha_load_relaxed(&unwinder.truncated);
}
