#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Compares the profile "rss" of a process whose memory is known with what it was made of.

What could break a user here: a total that is not the process's; memory that was allocated and never touched shown as
taken, or shown at the stack that touched its own; free memory of the heap, thread stacks, the library's tables or the
program's own mappings under a wrong name.

The total and the parts are exact but for what the process needs besides, so tolerances are absolute. Sampling has no
part in it: all blocks of a size come from one stack, so their class is its, whatever the samples say; of the large
ones of 2 MiB, 98 % are sampled at the default rate.

usage: rss.py PROGRAM LIBRARY HALLOC RATE       LIBRARY is preloaded, "" if the program is linked with it
"""
import json
import os
import subprocess
import sys
import tempfile

PROGRAM, LIBRARY, HALLOC, RATE = sys.argv[1:5]
MIB = 1 << 20
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def is_between(name, value, low, high):
    check(name, not low <= value <= high and f"{value} bytes, expected {low:.0f} to {high:.0f}")


def run(work):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HALLOC_") and k != "LD_PRELOAD"}
    path = os.path.join(work, "rss.pb.gz")
    output = subprocess.run([PROGRAM, path], check=True, capture_output=True, text=True,
                            env=dict(environment, HALLOC_MEMPROFILERATE=RATE, HALLOC_BACKGROUND="0",
                                     **({"LD_PRELOAD": LIBRARY} if LIBRARY else {}))).stdout
    made = {name: int(value) for name, value in (line.split() for line in output.splitlines())}
    shown = json.loads(subprocess.run([HALLOC, "heap", "--rss", "--json", "-n", "0", path], check=True,
                                      capture_output=True, text=True, env=environment).stdout)
    return made, shown


with tempfile.TemporaryDirectory() as directory:
    made, shown = run(directory)
flat = {entry["name"]: entry["flat"] for entry in shown["entries"]}
for name in ("before", "after"):
    is_between(f"total_is_VmRSS_{name}_the_call", shown["total"], 0.98 * made[name], 1.02 * made[name])
# Rounding of rows to bytes.
is_between("total_is_VmRSS_of_the_moment", shown["total"], shown["VmRSS"] - len(flat), shown["VmRSS"] + len(flat))
if RATE != "0":
    for name in ("small", "touched", "huge"):
        is_between(name, flat.get(f"make_{name}", 0), 0.99 * made[name], 1.01 * made[name] + 65536)
    # The kernel's count of its own memory is by whole OS pages: one for the header of a page at most.
    is_between("untouched", flat.get("make_untouched", 0), 0, 65536)
    is_between("not_sampled", flat.get("[not sampled]", 0), 0, MIB)
else:
    live = sum(made[name] for name in ("small", "touched", "huge"))
    is_between("not_sampled_at_rate_0", flat.get("[not sampled]", 0), 0.99 * live, 1.01 * live + MIB)
is_between("not_resident", shown["not_resident"], made["untouched"] - 65536, made["untouched"] + MIB)
is_between("idle", flat.get("[idle]", 0), made["freed"] - MIB, made["freed"] + MIB)
is_between("free_in_pages", flat.get("[free in pages]", 0), 0, 2 * MIB)
is_between("stacks", flat.get("[stacks]", 0), made["stacks"], made["stacks"] + MIB)
is_between("anonymous", flat.get("[anonymous mappings]", 0), made["mapping"], made["mapping"] + 2 * MIB)
is_between("own", flat.get("[halloc itself]", 0), 0.3 * made["tables"], 1.1 * made["tables"] + 2 * MIB)
is_between("files", flat.get("[files]", 0), 0.5 * MIB, 20 * MIB)
print(json.dumps(made), json.dumps({k: v for k, v in sorted(flat.items(), key=lambda item: -item[1])[:14]}))
sys.exit(failed)
