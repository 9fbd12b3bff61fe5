#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The same program walked three ways gives the same stacks: by our rules (auto), libunwind's rules (dwarf), libgcc.

Catches rules that are wrong for one way of laying out a frame: callers that are missing, doubled or made up.
The sets of whole stacks with their counts are compared. Differences that are allowed:
  - stacks that pass through libhalloc itself: loading libgcc or libunwind at start-up is part of the mode;
  - below a function without unwind tables libgcc stops, the others may go on by frame pointers. Cut there.
"""
import collections

import walker

MODES = ("auto", "dwarf", "libgcc")
COMPILERS = (("gcc", "g++"), ("clang-14", "clang++-14"))
OPTIONS = ("-O0", "-O2", "-O2 -fomit-frame-pointer", "-O2 -fno-omit-frame-pointer")
NO_TABLES = ("bare_", "asm_with")
MUST_SEE = ("aligned_with_alloca", "tail_target", "recursive", "ends_in_noreturn", "coroutine", "in_vfork_child",
            "throwing", "bare_", "asm_without_frame", "touch", "lazily_bound", "compare", "on_fault")

driver = walker.Driver()


def has_no_tables(frame):
    return frame.name.startswith(NO_TABLES)


def comparable(stacks):
    result = collections.Counter()
    for stack in stacks:
        if any(frame.module.startswith("libhalloc") for frame in stack.frames):
            continue
        cut = next((i + 1 for i, frame in enumerate(stack.frames) if has_no_tables(frame)), len(stack.frames))
        result[stack.frames[:cut], stack.size] += stack.objects
    return result


def build(name, cc, cxx, options):
    flags = options.split()
    bare = [*flags, "-c", "-fPIC", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions",
            "shapes_bare.c"]
    objects = [
        driver.compile(name + ".1.o", cc, *bare, "-fno-omit-frame-pointer", "-DNAME=bare_with_frame"),
        driver.compile(name + ".2.o", cc, *bare, "-fomit-frame-pointer", "-DNAME=bare_without_frame"),
        driver.compile(name + ".3.o", cc, *flags, "-c", "-fPIC", "-D_GNU_SOURCE", "-fno-builtin-malloc",
                       "-fasynchronous-unwind-tables", "-Wno-unused", "shapes.c"),
        driver.compile(name + ".4.o", cc, "-c", "shapes_asm.S"),
        driver.compile(name + ".5.o", cxx, *flags, "-c", "-fPIC", "shapes_throw.cc"),
    ]
    lazy = driver.compile(name + ".lazy.so", cc, *flags, "-shared", "-fPIC", "-fno-builtin-malloc", "shapes_lazy.c")
    plugin = driver.compile(name + ".tls.so", cc, *flags, "-shared", "-fPIC", "shapes_tls.c")
    # Static functions get into the profile by the symbol table; lazy binding is off by default in some toolchains.
    program = driver.compile(name, cxx, *objects, lazy, "-rdynamic", "-pthread", "-Wl,-z,lazy")
    return [program, plugin]


def compare(name, cc, cxx, options):
    command = build(name, cc, cxx, options)
    found = {}
    for mode in MODES:
        profile = driver.path(f"{name}.{mode}.pb.gz")
        driver.run(command, mode=mode, profile=profile)
        found[mode] = comparable(walker.read_stacks(profile))
    reference = found["libgcc"]
    names = {frame.name for frames, _ in reference for frame in frames}
    unseen = [wanted for wanted in MUST_SEE if not any(wanted in seen for seen in names)]
    walker.check(not unseen, "libgcc's stacks lack", unseen)
    for mode in MODES[:-1]:
        missing, surplus = reference - found[mode], found[mode] - reference
        walker.check(not missing and not surplus, f"{mode} differs from libgcc in {sum(missing.values())} stacks;",
                     "libgcc:", *(walker.show(frames) + ";" for frames, _ in list(missing)[:3]),
                     f"{mode}:", *(walker.show(frames) + ";" for frames, _ in list(surplus)[:3]))
    print(f"  {name}: {sum(reference.values())} samples, {len(reference)} stacks")


for number, (c, cpp) in enumerate(COMPILERS):
    for option in OPTIONS:
        title = c + option.replace(" ", "")
        driver.case("fidelity_" + title, compare, title, c, cpp, option)
driver.finish()
