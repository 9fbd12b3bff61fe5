#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Libraries that come and go, two of them at one address, while other threads throw, allocate and iterate.

Catches a deadlock between ld.so's locks and ours (dlclose frees while it holds one), and rules of an
unloaded library that are used for the one that came in its place.
usage: dl_storm.py LIBHALLOC [SECONDS]
"""
import walker

driver = walker.Driver()
ENDS = ("_start", "clone3", "__clone3", "clone", "__clone")


def check_stacks(profile):
    """Each allocation in a plugin has two frames there, then use_plugin and all of its callers."""
    found = 0
    for stack in walker.read_stacks(profile):
        if stack.size not in (3072, 6144):
            continue
        names = [frame.name for frame in stack.frames]
        walker.check(names[2:4] == ["use_plugin", "load_and_use"] and names[-1] in ENDS,
                     "of", stack.objects, "objects:", walker.show(stack.frames))
        found += stack.objects
    walker.check(found > 0, "no allocation of a plugin is in the profile")
    return found


def storm(program, libraries, mode, seconds):
    profile = driver.path(f"storm.{mode}.pb.gz")
    out, _ = driver.run([program, "storm", str(seconds), *libraries], mode=mode, profile=profile, timeout=60)
    print(f"  {mode}: {out.strip()}")
    check_stacks(profile)


def again(program, libraries, mode):
    """Numbers that wrap (8, 7, 6 bits) must not make old rules valid again."""
    for closes in (0, 1, 31, 63, 126, 127, 128, 255):
        profile = driver.path(f"again.{mode}.pb.gz")
        out, _ = driver.run([program, "again", str(closes), *libraries], mode=mode, profile=profile)
        walker.check(out.strip() == "same", "the second library is not where the first was")
        try:
            check_stacks(profile)
        except walker.Failed as reason:
            raise walker.Failed(f"after {closes} more dlcloses: {reason}") from None


def main():
    seconds = int(driver.arguments[0]) if driver.arguments else 3
    libraries = [driver.compile(f"{name}.so", "gcc", "-shared", f"-DFRAME={frame}", "plugin_frames.S")
                 for name, frame in (("a", 24), ("b", 72))]
    program = driver.compile("dl_storm", "g++", "-O2", "-pthread", "-rdynamic", "-fno-builtin-malloc",
                             "dl_storm.cc")
    for mode in ("auto", "dwarf"):
        driver.case("unloaded_rules_" + mode, again, program, libraries, mode)
        driver.case("dl_storm_" + mode, storm, program, libraries, mode, seconds)
    driver.case("dl_storm_libgcc", storm, program, libraries, "libgcc", 1)


main()
driver.finish()
