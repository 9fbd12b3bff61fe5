#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The same program walked three ways gives the same stacks: by our rules, by libunwind's, by libgcc.

Catches rules that are wrong for one way of laying out a frame: callers that are missing, doubled or made
up. The sets of whole stacks with their counts are compared. Differences that are allowed:
  - stacks that come from halloc's own constructor: loading libgcc or libunwind is part of the mode;
  - ld.so's tables of objects and of thread-local data, which grow with the libraries that the mode loads;
  - below a function without unwind tables libgcc stops, the others may go on by frame pointers. Cut there.
"""
import collections

import walker

MODES = ("auto", "dwarf", "libgcc")
COMPILERS = (("gcc", "g++"), ("clang-14", "clang++-14"))
OPTIONS = ("-O0", "-O2", "-O2 -fomit-frame-pointer", "-O2 -fno-omit-frame-pointer")
LOADER_TABLES = ("_dl_find_object_update", "allocate_dtv")
NO_TABLES = ("bare_", "asm_with")
MUST_SEE = ("aligned_with_alloca", "tail_target", "recursive", "ends_in_noreturn", "coroutine",
            "in_vfork_child", "throwing", "bare_", "asm_without_frame", "touch", "lazily_bound", "compare",
            "on_fault")

driver = walker.Driver()


# Filled by the cases: lazy binding and faults are judged apart, so that each says what broke.
lazy, faults = {}, {}


def is_start_up(stack):
    """Nothing here calls dlopen in a constructor but halloc, whose own frame need not be there."""
    names = [frame.name for frame in stack.frames]
    return (any(frame.module.startswith("libhalloc") for frame in stack.frames) or
            ("dlopen" in names and "call_init" in names and "main" not in names))


def has_no_tables(frame):
    return frame.name.startswith(NO_TABLES)


def comparable(stacks):
    result = collections.Counter()
    for stack in stacks:
        if is_start_up(stack) or stack.frames[0].name in LOADER_TABLES:
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
    lazy = driver.compile(name + ".lazy.so", cc, *flags, "-shared", "-fPIC", "-fno-builtin-malloc",
                          "shapes_lazy.c")
    plugin = driver.compile(name + ".tls.so", cc, *flags, "-shared", "-fPIC", "shapes_tls.c")
    # Static functions get into the profile by the symbol table; some toolchains bind at once by default.
    program = driver.compile(name, cxx, *objects, lazy, "-rdynamic", "-pthread", "-Wl,-z,lazy")
    return [program, plugin]


def split(stacks, name):
    """Moves the stacks that have such a frame out of `stacks`, into the result."""
    taken = collections.Counter({key: count for key, count in stacks.items()
                                 if any(frame.name.startswith(name) for frame in key[0])})
    stacks -= taken
    return taken


def expect_equal(name, mode, reference, found):
    missing, surplus = reference - found, found - reference
    walker.check(not missing and not surplus,
                 f"{name}: {mode} differs from libgcc in {sum(missing.values())} stacks;", "libgcc:",
                 *(walker.show(frames) + ";" for frames, _ in list(missing)[:3]),
                 f"{mode}:", *(walker.show(frames) + ";" for frames, _ in list(surplus)[:3]))


def lazy_binding():
    """A function that ld.so binds at its first call, and that allocates while it is bound."""
    for name, mode in lazy:
        walker.check(lazy[name, "libgcc"], "libgcc has no stack through lazy binding")
        expect_equal(name, mode, lazy[name, "libgcc"], lazy[name, mode])


def fault_at_first_instruction():
    """The interrupted function is named, not the one that ends where it begins."""
    for (name, mode), stacks in faults.items():
        for frames, _ in stacks:
            walker.check(any(frame.name == "faults_at_its_start" for frame in frames), name, mode,
                         walker.show(frames))


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
    for mode in MODES:
        lazy[name, mode] = split(found[mode], "_dl_runtime_resolve")
        faults[name, mode] = split(found[mode], "on_fault")
        for (frames, size), count in faults[name, mode].items():
            # handler, signal frame, then the interrupted function, whose name is judged apart
            at = [frame.name for frame in frames].index("on_fault") + 2
            found[mode][frames[:at] + frames[at + 1:], size] += count
    for mode in MODES[:-1]:
        expect_equal(name, mode, reference, found[mode])
    print(f"  {name}: {sum(reference.values())} samples, {len(reference)} stacks")


for number, (c, cpp) in enumerate(COMPILERS):
    for option in OPTIONS:
        title = c + option.replace(" ", "")
        driver.case("fidelity_" + title, compare, title, c, cpp, option)
driver.case("lazy_binding", lazy_binding)
driver.case("fault_at_first_instruction", fault_at_first_instruction)
driver.finish()
