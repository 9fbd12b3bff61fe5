#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Forks while other threads walk stacks through code that was never seen before.

Catches a walker state (a resolver's lock, a table in the middle of a change) that a child inherits and
waits for.
usage: forks.py LIBHALLOC [FORKS]; 1,000 by default, 10,000 are the full proof.
"""
import sys

import walker

FUNCTIONS = 20000
driver = walker.Driver()


def forks(program, cold, mode, count):
    out, _ = driver.run([program, str(count), cold], mode=mode, rate=1024, timeout=30 + count // 10)
    print(f"  {mode}: {out.strip()}")


def main():
    count = int(driver.arguments[0]) if driver.arguments else 1000
    source = driver.path("cold.s")
    writer = walker.os.path.join(walker.HERE, "cold_code.py")
    walker.subprocess.run([sys.executable, writer, str(FUNCTIONS), source], check=True)
    cold = driver.compile("cold.so", "gcc", "-shared", source)
    program = driver.compile("forks", "gcc", "-O2", "-pthread", "-D_GNU_SOURCE", "forks.c")
    for mode, share in (("auto", 2), ("dwarf", 4), ("libgcc", 8)):
        driver.case("forks_" + mode, forks, program, cold, mode, count // share)


main()
driver.finish()
