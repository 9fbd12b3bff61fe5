/* SPDX-License-Identifier: MIT */
/*
 * Running an entry's instructions up to one address, keeping only what a walk needs: the CFA, where the frame
 * pointer is saved, and whether there is a return address. Everything else is skipped over.
 *
 * CFA expressions are evaluated with the stack and frame pointer as unknowns: a value is a constant, one of
 * the two plus a constant, or a word loaded from such an address. That covers what compilers and linkers
 * write (stack realignment, PLT entries); anything else is HA_RULE_COMPLEX.
 */
#include "sampler/rule.h"

#include "sampler/cfi.h"

/* DWARF numbers of the x86-64 registers (psABI, figure 3.36). */
#define REGISTER_BASE 3
#define REGISTER_FRAME 6
#define REGISTER_STACK 7
#define REGISTER_RETURN 16

#define STATE_DEPTH 8
#define EXPRESSION_DEPTH 8
#define WORD HA_RULE_WORD

enum instruction {
  CFA_ADVANCE_LOC = 0x40, /* operand in the low six bits */
  CFA_OFFSET = 0x80,
  CFA_RESTORE = 0xc0,
  CFA_NOP = 0x00,
  CFA_SET_LOC = 0x01,
  CFA_ADVANCE_LOC1 = 0x02,
  CFA_ADVANCE_LOC2 = 0x03,
  CFA_ADVANCE_LOC4 = 0x04,
  CFA_OFFSET_EXTENDED = 0x05,
  CFA_RESTORE_EXTENDED = 0x06,
  CFA_UNDEFINED = 0x07,
  CFA_SAME_VALUE = 0x08,
  CFA_REGISTER = 0x09,
  CFA_REMEMBER_STATE = 0x0a,
  CFA_RESTORE_STATE = 0x0b,
  CFA_DEF_CFA = 0x0c,
  CFA_DEF_CFA_REGISTER = 0x0d,
  CFA_DEF_CFA_OFFSET = 0x0e,
  CFA_DEF_CFA_EXPRESSION = 0x0f,
  CFA_EXPRESSION = 0x10,
  CFA_OFFSET_EXTENDED_SF = 0x11,
  CFA_DEF_CFA_SF = 0x12,
  CFA_DEF_CFA_OFFSET_SF = 0x13,
  CFA_VAL_OFFSET = 0x14,
  CFA_VAL_EXPRESSION = 0x16,
  CFA_GNU_ARGS_SIZE = 0x2e,
};

enum operation {
  OP_DEREF = 0x06,
  OP_CONST1U = 0x08,
  OP_CONST1S = 0x09,
  OP_CONST2U = 0x0a,
  OP_CONST2S = 0x0b,
  OP_AND = 0x1a,
  OP_MINUS = 0x1c,
  OP_PLUS = 0x22,
  OP_PLUS_UCONST = 0x23,
  OP_SHL = 0x24,
  OP_GE = 0x2a,
  OP_LIT0 = 0x30,
  OP_LIT31 = 0x4f,
  OP_BREG0 = 0x70,
  OP_BREG31 = 0x8f,
};

/* Where a register of the caller is found. */
enum place { PLACE_SAME, PLACE_SAVED, PLACE_EXPRESSION, PLACE_UNDEFINED, PLACE_OTHER };

struct saved_register {
  enum place place;
  int64_t offset;                  /* from the CFA, for PLACE_SAVED */
  struct ha_cfi_cursor expression; /* of its address, for PLACE_EXPRESSION */
};

struct state {
  uint64_t cfa_register;
  int64_t cfa_offset;
  struct ha_cfi_cursor cfa_expression; /* empty unless the CFA is one */
  struct saved_register base;
  struct saved_register frame;
  struct saved_register ret;
};

struct machine {
  const struct ha_cfi_entry *entry;
  uintptr_t location;
  struct state now;
  struct state initial; /* after the common instructions */
  struct state stack[STATE_DEPTH];
  unsigned depth;
  bool is_understood;
};

static struct saved_register *watched(struct state *state, uint64_t number) {
  switch (number) {
  case REGISTER_BASE:
    return &state->base;
  case REGISTER_FRAME:
    return &state->frame;
  case REGISTER_RETURN:
    return &state->ret;
  default:
    return NULL;
  }
}

static void set_place(struct machine *machine, uint64_t number, enum place place, int64_t offset) {
  struct saved_register *saved = watched(&machine->now, number);
  if (saved != NULL) {
    *saved = (struct saved_register){.place = place, .offset = offset};
  }
}

static void set_expression(struct machine *machine, uint64_t number, struct ha_cfi_cursor expression) {
  struct saved_register *saved = watched(&machine->now, number);
  if (saved != NULL) {
    *saved = (struct saved_register){.place = PLACE_EXPRESSION, .expression = expression};
  }
}

static void restore_register(struct machine *machine, uint64_t number) {
  struct saved_register *saved = watched(&machine->now, number);
  if (saved != NULL) {
    *saved = *watched(&machine->initial, number);
  }
}

static void define_cfa(struct machine *machine, uint64_t number, int64_t offset) {
  machine->now.cfa_register = number;
  machine->now.cfa_offset = offset;
  machine->now.cfa_expression = (struct ha_cfi_cursor){0};
}

static void remember(struct machine *machine) {
  if (machine->depth == STATE_DEPTH) {
    machine->is_understood = false;
    return;
  }
  machine->stack[machine->depth++] = machine->now;
}

static void recall(struct machine *machine) {
  if (machine->depth == 0) {
    machine->is_understood = false;
    return;
  }
  machine->now = machine->stack[--machine->depth];
}

static void advance(struct machine *machine, uint64_t units) {
  machine->location += units * machine->entry->code_factor;
}

static int64_t scaled(const struct machine *machine, int64_t factored) {
  return factored * machine->entry->data_factor;
}

/* Instructions about the CFA. False if `code` is not one. */
static bool run_cfa(struct machine *machine, struct ha_cfi_cursor *program, uint8_t code) {
  uint64_t number;
  switch (code) {
  case CFA_DEF_CFA:
    number = ha_cfi_uleb(program);
    define_cfa(machine, number, (int64_t)ha_cfi_uleb(program));
    return true;
  case CFA_DEF_CFA_SF:
    number = ha_cfi_uleb(program);
    define_cfa(machine, number, scaled(machine, ha_cfi_sleb(program)));
    return true;
  case CFA_DEF_CFA_REGISTER:
    define_cfa(machine, ha_cfi_uleb(program), machine->now.cfa_offset);
    return true;
  case CFA_DEF_CFA_OFFSET:
    define_cfa(machine, machine->now.cfa_register, (int64_t)ha_cfi_uleb(program));
    return true;
  case CFA_DEF_CFA_OFFSET_SF:
    define_cfa(machine, machine->now.cfa_register, scaled(machine, ha_cfi_sleb(program)));
    return true;
  case CFA_DEF_CFA_EXPRESSION:
    machine->now.cfa_expression = ha_cfi_block(program, ha_cfi_uleb(program));
    return true;
  default:
    return false;
  }
}

/* Instructions about where registers are saved. False if `code` is not one. */
static bool run_register(struct machine *machine, struct ha_cfi_cursor *program, uint8_t code) {
  uint64_t number;
  switch (code) {
  case CFA_OFFSET_EXTENDED:
    number = ha_cfi_uleb(program);
    set_place(machine, number, PLACE_SAVED, scaled(machine, (int64_t)ha_cfi_uleb(program)));
    return true;
  case CFA_OFFSET_EXTENDED_SF:
    number = ha_cfi_uleb(program);
    set_place(machine, number, PLACE_SAVED, scaled(machine, ha_cfi_sleb(program)));
    return true;
  case CFA_RESTORE_EXTENDED:
    restore_register(machine, ha_cfi_uleb(program));
    return true;
  case CFA_UNDEFINED:
    set_place(machine, ha_cfi_uleb(program), PLACE_UNDEFINED, 0);
    return true;
  case CFA_SAME_VALUE:
    set_place(machine, ha_cfi_uleb(program), PLACE_SAME, 0);
    return true;
  case CFA_REGISTER:
  case CFA_VAL_OFFSET:
    set_place(machine, ha_cfi_uleb(program), PLACE_OTHER, 0);
    (void)ha_cfi_uleb(program);
    return true;
  case CFA_EXPRESSION:
    number = ha_cfi_uleb(program);
    set_expression(machine, number, ha_cfi_block(program, ha_cfi_uleb(program)));
    return true;
  case CFA_VAL_EXPRESSION:
    set_place(machine, ha_cfi_uleb(program), PLACE_OTHER, 0);
    (void)ha_cfi_block(program, ha_cfi_uleb(program));
    return true;
  default:
    return false;
  }
}

static void run_other(struct machine *machine, struct ha_cfi_cursor *program, uint8_t code) {
  switch (code) {
  case CFA_NOP:
    break;
  case CFA_GNU_ARGS_SIZE:
    (void)ha_cfi_uleb(program);
    break;
  case CFA_ADVANCE_LOC1:
    advance(machine, ha_cfi_fixed(program, 1));
    break;
  case CFA_ADVANCE_LOC2:
    advance(machine, ha_cfi_fixed(program, 2));
    break;
  case CFA_ADVANCE_LOC4:
    advance(machine, ha_cfi_fixed(program, 4));
    break;
  case CFA_REMEMBER_STATE:
    remember(machine);
    break;
  case CFA_RESTORE_STATE:
    recall(machine);
    break;
  default: /* among them CFA_SET_LOC, which no compiler for these machines writes */
    machine->is_understood = false;
  }
}

static void run(struct machine *machine, struct ha_cfi_cursor program, uintptr_t pc) {
  while (program.at < program.end && machine->is_understood && machine->location <= pc) {
    uint8_t byte = ha_cfi_u8(&program);
    uint8_t operand = byte & 0x3f;
    switch (byte & 0xc0) {
    case CFA_ADVANCE_LOC:
      advance(machine, operand);
      break;
    case CFA_OFFSET:
      set_place(machine, operand, PLACE_SAVED, scaled(machine, (int64_t)ha_cfi_uleb(&program)));
      break;
    case CFA_RESTORE:
      restore_register(machine, operand);
      break;
    default:
      if (!run_cfa(machine, &program, byte) && !run_register(machine, &program, byte)) {
        run_other(machine, &program, byte);
      }
    }
  }
}

/* Expressions. A value is `constant`, plus a register, or the word loaded from that address. */

enum base { BASE_NONE, BASE_STACK, BASE_FRAME, BASE_BASE, BASE_LOADED_FRAME };

struct value {
  enum base base;
  int64_t constant;
};

struct evaluation {
  struct value stack[EXPRESSION_DEPTH];
  unsigned depth;
  bool is_understood;
};

static void push(struct evaluation *evaluation, enum base base, int64_t constant) {
  if (evaluation->depth == EXPRESSION_DEPTH) {
    evaluation->is_understood = false;
    return;
  }
  evaluation->stack[evaluation->depth++] = (struct value){base, constant};
}

static struct value pop(struct evaluation *evaluation) {
  if (evaluation->depth == 0) {
    evaluation->is_understood = false;
    return (struct value){BASE_NONE, 0};
  }
  return evaluation->stack[--evaluation->depth];
}

/* The return address is known: the rule is for one place of call. */
static void push_register(struct evaluation *evaluation, unsigned number, int64_t offset,
                          uintptr_t return_address) {
  switch (number) {
  case REGISTER_STACK:
    push(evaluation, BASE_STACK, offset);
    break;
  case REGISTER_FRAME:
    push(evaluation, BASE_FRAME, offset);
    break;
  case REGISTER_BASE:
    push(evaluation, BASE_BASE, offset);
    break;
  case REGISTER_RETURN:
    push(evaluation, BASE_NONE, (int64_t)return_address + offset);
    break;
  default:
    evaluation->is_understood = false;
  }
}

static void load(struct evaluation *evaluation) {
  struct value address = pop(evaluation);
  if (address.base != BASE_FRAME) {
    evaluation->is_understood = false;
  }
  push(evaluation, BASE_LOADED_FRAME, address.constant);
}

static void combine(struct evaluation *evaluation, uint8_t code) {
  struct value second = pop(evaluation);
  struct value first = pop(evaluation);
  bool are_constants = first.base == BASE_NONE && second.base == BASE_NONE;
  bool is_sum = code == OP_PLUS && (first.base == BASE_NONE || second.base == BASE_NONE) &&
                first.base != BASE_LOADED_FRAME && second.base != BASE_LOADED_FRAME;
  if (is_sum) {
    push(evaluation, first.base != BASE_NONE ? first.base : second.base, first.constant + second.constant);
    return;
  }
  if (!are_constants) {
    evaluation->is_understood = false;
  }
  int64_t result = 0;
  switch (code) {
  case OP_AND:
    result = first.constant & second.constant;
    break;
  case OP_MINUS:
    result = first.constant - second.constant;
    break;
  case OP_SHL:
    result = second.constant < 64 ? (int64_t)((uint64_t)first.constant << second.constant) : 0;
    break;
  case OP_GE:
    result = first.constant >= second.constant;
    break;
  default:
    evaluation->is_understood = false;
  }
  push(evaluation, BASE_NONE, result);
}

static void evaluate_one(struct evaluation *evaluation, struct ha_cfi_cursor *expression,
                         uintptr_t return_address) {
  uint8_t code = ha_cfi_u8(expression);
  if (code >= OP_LIT0 && code <= OP_LIT31) {
    push(evaluation, BASE_NONE, code - OP_LIT0);
    return;
  }
  if (code >= OP_BREG0 && code <= OP_BREG31) {
    push_register(evaluation, code - OP_BREG0, ha_cfi_sleb(expression), return_address);
    return;
  }
  switch (code) {
  case OP_DEREF:
    load(evaluation);
    break;
  case OP_CONST1U:
    push(evaluation, BASE_NONE, (int64_t)ha_cfi_fixed(expression, 1));
    break;
  case OP_CONST1S:
    push(evaluation, BASE_NONE, (int8_t)ha_cfi_fixed(expression, 1));
    break;
  case OP_CONST2U:
    push(evaluation, BASE_NONE, (int64_t)ha_cfi_fixed(expression, 2));
    break;
  case OP_CONST2S:
    push(evaluation, BASE_NONE, (int16_t)ha_cfi_fixed(expression, 2));
    break;
  case OP_PLUS_UCONST:
    push(evaluation, BASE_NONE, (int64_t)ha_cfi_uleb(expression));
    combine(evaluation, OP_PLUS);
    break;
  default:
    combine(evaluation, code);
  }
}

static struct value evaluate(struct ha_cfi_cursor expression, const struct value *first,
                             uintptr_t return_address, bool *is_understood) {
  struct evaluation evaluation = {.is_understood = true};
  if (first != NULL) {
    push(&evaluation, first->base, first->constant);
  }
  while (expression.at < expression.end && evaluation.is_understood) {
    evaluate_one(&evaluation, &expression, return_address);
  }
  struct value value = pop(&evaluation);
  *is_understood = evaluation.is_understood;
  return value;
}

/* From machine state to rule. */

static struct value cfa_of(const struct state *state, uintptr_t return_address, bool *is_understood) {
  if (state->cfa_expression.at != NULL) {
    return evaluate(state->cfa_expression, NULL, return_address, is_understood);
  }
  *is_understood = true;
  switch (state->cfa_register) {
  case REGISTER_STACK:
    return (struct value){BASE_STACK, state->cfa_offset};
  case REGISTER_FRAME:
    return (struct value){BASE_FRAME, state->cfa_offset};
  case REGISTER_BASE:
    return (struct value){BASE_BASE, state->cfa_offset};
  default:
    *is_understood = false;
    return (struct value){BASE_NONE, 0};
  }
}

static bool fits(int64_t value, unsigned bits) {
  int64_t limit = (int64_t)1 << (bits - 1);
  return value >= -limit && value < limit;
}

/* Where the frame pointer is saved, as far as a rule can say it. */
static bool place_frame(const struct saved_register *frame, struct value cfa, uintptr_t return_address,
                        struct ha_rule *rule) {
  int64_t offset = 0;
  bool is_understood = true;
  rule->frame_place = HA_FRAME_KEPT;
  if (frame->place == PLACE_SAVED) {
    rule->frame_place = HA_FRAME_AT_CFA;
    offset = frame->offset;
  } else if (frame->place == PLACE_EXPRESSION) {
    /* The standard has the CFA on the stack when such an expression begins. */
    struct value address = evaluate(frame->expression, &cfa, return_address, &is_understood);
    rule->frame_place = HA_FRAME_AT_FRAME;
    offset = address.constant;
    is_understood = is_understood && address.base == BASE_FRAME;
  } else if (frame->place != PLACE_SAME) {
    is_understood = false;
  }
  rule->frame_offset = (int32_t)offset;
  return is_understood && offset % WORD == 0 && fits(offset / WORD, HA_RULE_FRAME_BITS);
}

static void place_base(const struct saved_register *base, struct ha_rule *rule) {
  bool is_saved = base->place == PLACE_SAVED && base->offset == (int32_t)base->offset;
  rule->base_place = base->place == PLACE_SAME ? HA_BASE_KEPT : is_saved ? HA_BASE_AT_CFA : HA_BASE_LOST;
  rule->base_offset = is_saved ? (int32_t)base->offset : 0;
}

static struct ha_rule rule_of(const struct machine *machine, uintptr_t pc) {
  static const enum ha_rule_kind kinds[] = {
      [BASE_NONE] = HA_RULE_COMPLEX, [BASE_STACK] = HA_RULE_STACK,         [BASE_FRAME] = HA_RULE_FRAME,
      [BASE_BASE] = HA_RULE_BASE,    [BASE_LOADED_FRAME] = HA_RULE_LOADED,
  };
  const struct state *state = &machine->now;
  if (state->ret.place == PLACE_UNDEFINED) {
    return (struct ha_rule){.kind = HA_RULE_LAST};
  }
  uintptr_t return_address = pc + 1;
  bool is_understood;
  struct value cfa = cfa_of(state, return_address, &is_understood);
  struct ha_rule rule = {.kind = kinds[cfa.base], .cfa_offset = (int32_t)cfa.constant};
  place_base(&state->base, &rule);
  bool is_usual = is_understood && state->ret.place == PLACE_SAVED && state->ret.offset == -WORD &&
                  fits(cfa.constant, HA_RULE_CFA_BITS) &&
                  place_frame(&state->frame, cfa, return_address, &rule);
  return is_usual ? rule : (struct ha_rule){.kind = HA_RULE_COMPLEX};
}

struct ha_rule ha_rule_find(uintptr_t pc) {
  struct ha_cfi_entry entry;
  if (!ha_cfi_find(pc, &entry) || entry.return_register != REGISTER_RETURN) {
    return (struct ha_rule){.kind = HA_RULE_UNKNOWN};
  }
  if (entry.is_signal_frame) {
    return (struct ha_rule){.kind = HA_RULE_SIGNAL};
  }
  struct machine machine = {.entry = &entry, .location = entry.start, .is_understood = true};
  run(&machine, entry.common, UINTPTR_MAX);
  machine.location = entry.start;
  machine.initial = machine.now;
  run(&machine, entry.program, pc);
  return machine.is_understood ? rule_of(&machine, pc) : (struct ha_rule){.kind = HA_RULE_COMPLEX};
}
