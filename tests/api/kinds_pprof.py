#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Has `go tool pprof` read every profile that is not the heap's, in both forms.

What could break a user here: a profile that the tools refuse, or whose numbers they scale or drop.

usage: kinds_pprof.py PROGRAM LIBRARY LOCKS_LIBRARY       the libraries are preloaded
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM, LIBRARY, LOCKS_LIBRARY = sys.argv[1:4]
# Name: type and unit of the period, the least and the largest total of the last value, and a function that is on a
# stack. A contention lasts 20 ms, if the machine is not busy.
SECOND = 1_000_000_000
KINDS = {
    "threads": ("goroutine", "count", 4, 4, "waits_for_the_word"),
    "goroutine": ("goroutine", "count", 4, 4, "waits_for_the_word"),
    "threadcreate": ("threadcreate", "count", 4, 4, "main"),
    "mutex": ("contentions", "count", SECOND // 100, 20 * SECOND, "lets_go_of_the_lock"),
    "delta_mutex": ("contentions", "count", SECOND // 100, 20 * SECOND, "lets_go_of_the_lock"),
    "delta_block": ("contentions", "count", SECOND // 100, 60 * SECOND, "wants_the_lock"),
    "block": ("contentions", "count", SECOND // 100, 60 * SECOND, "wants_the_lock"),
}
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def pprof(work, *options):
    environment = dict(os.environ, PPROF_TMPDIR=work, PPROF_BINARY_PATH=work, GOTOOLCHAIN="local")
    if "HOME" not in environment:
        environment["GOCACHE"] = work
    done = subprocess.run(["go", "tool", "pprof", *options], env=environment, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else f"pprof failed: {done.stderr}"


def total(raw):
    """Of the last value of all samples."""
    body = raw.split("Samples:\n")[1].split("Locations\n")[0] if "Samples:\n" in raw else ""
    return sum(int(values.split()[-1]) for values in re.findall(r"^\s*((?:\d+\s+)*\d+):", body, re.M))


def look(work, name, type_, unit, least, most, function):
    for ending in ("pb.gz", "txt"):
        path = f"{work}/{name}.{ending}"
        raw = pprof(work, "-raw", "-symbolize=none", path)
        check(f"{name}.{ending}_adds_up", "" if least <= total(raw) <= most else f"{total(raw)}: {raw[:400]}")
        if ending == "txt":
            check(f"{name}.{ending}_names_its_frames", "" if re.search(rf"\t{function}\+0x", open(path).read()) else
                  f"no {function}")
            continue
        check(f"{name}.{ending}_has_its_type", "" if re.search(rf"^PeriodType: {type_} {unit}$", raw, re.M) else raw[:300])
        top = pprof(work, "-top", "-cum", "-nodecount=100", "-symbolize=none", path)
        check(f"{name}.{ending}_top", "" if ("Type: delay" if least != most else f"Type: {type_}") in top and re.search(rf"\b{function}$", top, re.M) else top)


def main():
    if not shutil.which("go"):
        print("FAIL kinds_pprof: no go: install golang-go")
        return 1
    with tempfile.TemporaryDirectory() as work:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HALLOC_") and k != "LD_PRELOAD"}
        environment.update(LD_PRELOAD=f"{LIBRARY} {LOCKS_LIBRARY}", HALLOC_MUTEXPROFILEFRACTION="1",
                           HALLOC_BLOCKPROFILERATE="1")
        subprocess.run([PROGRAM, work], env=environment, check=True)
        for name, expected in KINDS.items():
            look(work, name, *expected)
    return failed


sys.exit(main())
