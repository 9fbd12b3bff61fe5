#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""malloc under hostile stacks: garbage frame pointers and return addresses, cycles, borders, tables that
lie.

Catches a walker that follows what it should check: a crash, an endless walk, or a sample that is lost
because of it. Not for mode libgcc: that unwinder trusts tables and frame pointers, and may crash where
ours must not.
"""
import walker

driver = walker.Driver()
KINDS = ("wild_frame_pointers", "cyclic_frame_pointers", "stack_that_borders_on_nothing",
         "wild_return_addresses", "tables_that_lie", "buffer_between_stacks_unmapped")


def hostile(program, number, mode):
    profile = driver.path(f"hostile.{mode}.pb.gz")
    out, _ = driver.run([program, str(number)], mode=mode, profile=profile, timeout=20)
    size, depth_max, name = out.split()
    walker.check(name == KINDS[number], "the program says", name)
    stacks = [stack for stack in walker.read_stacks(profile) if stack.size == int(size) and stack.frames]
    walker.check(stacks, "no sample of", size, "bytes")
    deepest = max(stacks, key=lambda stack: len(stack.frames))
    walker.check(len(deepest.frames) <= int(depth_max), "a stack of", len(deepest.frames), "frames:",
                 walker.show(deepest.frames[:20]))


def main():
    program = driver.compile("hostile", "gcc", "-O1", "-g0", "-fno-builtin-malloc", "-pthread",
                             "-D_GNU_SOURCE", "-w", "hostile.c", "hostile_asm.S")
    for mode in ("auto", "dwarf", "fp"):
        for number, name in enumerate(KINDS):
            driver.case(f"{name}_{mode}", hostile, program, number, mode)


main()
driver.finish()
