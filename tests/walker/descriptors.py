#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""File descriptors of a program that closes what it did not open itself.

Catches a walker that keeps a descriptor open (libunwind's pipe) and later reads or writes what the
program opened under the same number. In every mode the bytes arrive as they were sent, and walking opens
nothing. In mode dwarf a program starts with two descriptors more: libunwind opens a pipe as it is loaded,
and does not use it here.
"""
import walker

driver = walker.Driver()


def descriptors(program, mode, preload):
    out, _ = driver.run([program], mode=mode, preload=preload, timeout=10)
    lines = dict(line.split(":") for line in out.splitlines())
    at_start = ["0", "1", "2"] + (["3", "4"] if mode == "dwarf" else [])
    walker.check(lines["start"].split() in (at_start, ["0", "1", "2"]), "open at the start:", lines["start"])
    walker.check(lines["opened"].split() == ["0", "1", "2", "3", "4"], "the pair is", lines["opened"])
    walker.check(lines["after"] == lines["opened"], "open before", lines["opened"], "and after",
                 lines["after"])


def main():
    program = driver.compile("descriptors", "gcc", "-O1", "-fno-builtin-malloc", "descriptors.c")
    driver.case("descriptors_plain", descriptors, program, "", False)
    for mode in ("auto", "fp", "dwarf", "libgcc"):
        driver.case("descriptors_" + mode, descriptors, program, mode, True)


main()
driver.finish()
