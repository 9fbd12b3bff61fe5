#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Samples taken in signal handlers, on alternate stacks, at 4 kHz and nested.

Catches a walk that stops at the signal frame, that takes the interrupted address for one to return to, or
that confuses the handler's stack with the thread's; and crashes and hangs of sampling in handlers.
"""
import walker

driver = walker.Driver()
TICKS = 800


def names(stack):
    return [frame.name for frame in stack.frames]


def is_within(wanted, seen):
    """The wanted names occur in that order, without others between."""
    return any(seen[i:i + len(wanted)] == wanted for i in range(len(seen)))


def handlers(program, mode):
    profile = driver.path(f"signals.{mode}.pb.gz")
    out, _ = driver.run([program, str(TICKS)], mode=mode, profile=profile, timeout=40)
    stacks = walker.read_stacks(profile)
    prof = [names(stack) for stack in stacks
            if stack.frames[0].name == "allocate_in_handler" and "on_usr2" not in names(stack)]
    usr = [names(stack) for stack in stacks if "on_usr2" in names(stack)]
    total = sum(stack.objects for stack in stacks if stack.frames[0].name == "allocate_in_handler")
    allocated = int(out.split()[0])
    walker.check(total == allocated >= 6 * TICKS, total, "samples of", allocated, "allocations")
    for interrupted, below in (("computes", "caller_of_computes"), ("computes_in_asm", "caller_of_asm")):
        seen = [stack for stack in prof if interrupted in stack]
        walker.check(seen, "no stack goes on into", interrupted, "but", prof[:1])
        for stack in seen:
            at = stack.index(interrupted)
            walker.check(stack[:2] == ["allocate_in_handler", "on_prof"] and stack[at + 1] == below,
                         "a stack", stack)
            walker.check(at <= 3, "frames between the handler and", interrupted, stack)
        nested = [stack for stack in usr if "on_prof" in stack and interrupted in stack]
        walker.check(nested, "no stack of nested handlers in", interrupted)
        for stack in nested:
            order = [stack.index(name) for name in ("on_usr2", "on_prof", interrupted, below)]
            walker.check(order == sorted(order), "a stack", stack)
    broken = [stack for stack in prof + usr if not {"computes", "computes_in_asm"} & set(stack)]
    # A tick may find the program between the two; everything else must be attributed.
    walker.check(len(broken) <= 6, len(broken), "of", len(prof + usr), "stacks end early:", broken[:2])
    ends = {stack[-1] for stack in prof + usr}
    walker.check(ends <= {"_start", "clone3", "__clone3", "clone", "__clone"}, "stacks end at", ends)


def main():
    for cc, flags in (("gcc", "-O2"), ("gcc", "-O0"), ("clang-14", "-O2")):
        program = driver.compile("handlers" + cc + flags, cc, flags, "-pthread", "-rdynamic",
                                 "-D_GNU_SOURCE", "-w", "-fno-builtin-malloc", "handlers.c", "handlers_asm.S")
        for mode in ("auto", "dwarf"):
            driver.case(f"signals_{cc}{flags}_{mode}", handlers, program, mode)


main()
driver.finish()
