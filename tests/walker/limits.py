#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sampling under a tight seccomp filter, on the smallest stacks, and with a thousand threads.

Catches a system call that sandboxes kill a program for, a walker that needs more stack than small threads
have, and state per thread that a program with many threads pays for.
"""
import walker

THREADS = 1000
FRAMES = 128  # HALLOC_STACKDEPTH
WARM_MAX = 4096 + 8 * FRAMES
PER_THREAD_MAX_KIB = 1
driver = walker.Driver()


def seccomp(program, mode):
    profile = driver.path(f"seccomp.{mode}.pb.gz")
    driver.run([program, "seccomp"], mode=mode, profile=profile)
    samples = sum(stack.objects for stack in walker.read_stacks(profile)
                  if any(frame.name == "filtered_work" for frame in stack.frames[:45])
                  and stack.frames[0].name == "allocate")
    walker.check(samples == 1000, samples, "of 1000 allocations are in the profile")


def small_stacks(program, mode):
    driver.run([program, "stacks"], mode=mode)


def depth(program, mode, limit):
    out, _ = driver.run([program, "depth"], mode=mode)
    cold, warm = map(int, out.split())
    plain = driver.run([program, "depth"], mode=mode, rate=0)[0].split()[1]
    print(f"  {mode}: malloc uses {cold} bytes of stack on a cold sample, {warm} on a warm one,",
          f"{plain} unsampled (below 512: 0)")
    walker.check(warm < limit, "a warm sample uses", warm, "bytes of stack")


def threads(program):
    kib = {}
    for mode, rate in (("auto", 0), ("auto", 1), ("fp", 1), ("dwarf", 1), ("libgcc", 1)):
        # The least of two: pages that the kernel maps around a fault come and go.
        kib[mode, rate] = min(int(driver.run([program, "threads"], mode=mode, rate=rate)[0])
                              for _ in range(2))
    print("  KiB per thread:", ", ".join(f"{mode} at rate {rate} {value / THREADS:.2f}"
                                         for (mode, rate), value in kib.items()))
    print(f"  caused by sampling: {(kib['auto', 1] - kib['auto', 0]) / THREADS:.2f}")
    difference = (kib["auto", 1] - kib["fp", 1]) / THREADS
    walker.check(difference < PER_THREAD_MAX_KIB, "walking by rules costs", difference, "KiB per thread")


def main():
    program = driver.compile("limits", "gcc", "-O2", "-fno-builtin-malloc", "-pthread", "-rdynamic",
                             "-D_GNU_SOURCE", "-w", "-fno-optimize-sibling-calls", "limits.c")
    for mode in ("auto", "fp", "dwarf", "libgcc"):
        if mode != "fp":  # the callers of the filtered thread are found by tables only
            driver.case("seccomp_" + mode, seccomp, program, mode)
        driver.case("small_stacks_" + mode, small_stacks, program, mode)
        limit = 1 << 20 if mode == "libgcc" else WARM_MAX  # printed only: not our code
        driver.case("stack_use_" + mode, depth, program, mode, limit)
    driver.case("memory_per_thread", threads, program)


main()
driver.finish()
