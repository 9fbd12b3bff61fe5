#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Compares what `go tool pprof` says about each label with the exact counts of the program that allocated.

What could break a user here: bytes that are counted under the wrong label, or that move to another one when the block
is freed elsewhere; labels that pprof cannot select by.

At rate 1 every number must be equal. At other rates 160 estimates are compared (40 labels; objects and bytes; allocated
and in use), each with the standard deviation that its own blocks have. None may be off by more than 5 of them, and at
most 8 by more than 3 (0.43 are expected; they are not independent). With the 75 samples or more that each label has at
rate 4096, the chance that either happens is below 1e-3.

usage: labels.py PROGRAM LIBRARY load|switches RATE TURNS       LIBRARY is preloaded
"""
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM, LIBRARY, MODE, RATE, TURNS = sys.argv[1:6]
TYPES = ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
KINDS = 40
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def run_program(profile):
    """{kind: {"exact": [4], "samples": [2], "variance": [4]}}"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HALLOC_") and k != "LD_PRELOAD"}
    environment.update(HALLOC_MEMPROFILERATE=RATE, LD_PRELOAD=LIBRARY)
    output = subprocess.run([PROGRAM, MODE, profile, TURNS], env=environment, check=True, capture_output=True,
                            text=True).stdout
    kinds = {}
    for line in output.splitlines():
        kind, *numbers = line.split()
        kinds[kind] = {"exact": [int(n) for n in numbers[:4]], "samples": [float(n) for n in numbers[4:6]],
                       "variance": [float(n) for n in numbers[6:]]}
    assert len(kinds) == KINDS, output
    return kinds


def pprof(work, *options):
    environment = dict(os.environ, PPROF_TMPDIR=work, PPROF_BINARY_PATH=work, GOTOOLCHAIN="local")
    if "HOME" not in environment:
        environment["GOCACHE"] = work
    return subprocess.run(["go", "tool", "pprof", "-symbolize=none", *options], env=environment, check=True,
                          capture_output=True, text=True).stdout


def read_raw(text):
    """[(values, {key: value})]"""
    samples = []
    for line in text.split("Samples:\n")[1].split("Locations\n")[0].splitlines()[1:]:
        values = re.match(r"\s*(-?\d+)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+): ", line)
        if values:
            samples.append(([int(v) for v in values.groups()], {}))
        samples[-1][1].update(re.findall(r"(\w+):\[([^\]]*)\]", line) if not values else [])
    return samples


def sums_by_kind(samples):
    sums = {}
    for values, labels in samples:
        if "kind" in labels:
            total = sums.setdefault(labels["kind"], [0] * 4)
            sums[labels["kind"]] = [a + b for a, b in zip(total, values)]
    return sums


def compare(kinds, sums):
    check("every_label_of_the_program_and_no_other",
          "" if set(sums) == set(kinds) else f"{sorted(set(sums) ^ set(kinds))}")
    beyond, worst, squares = [], 0.0, 0.0
    for kind, counts in kinds.items():
        for i, name in enumerate(TYPES):
            difference = sums.get(kind, [0] * 4)[i] - counts["exact"][i]
            # Each row is rounded to whole numbers; there are fewer than a hundred of a kind.
            sigma = math.sqrt(max(counts["variance"][i], 0) + (100 / 12 if RATE != "1" else 0))
            off = abs(difference) / sigma if sigma > 0 else (math.inf if difference else 0)
            worst, squares = max(worst, off), squares + off * off
            if off > 3:
                beyond.append(f"{kind} {name} {difference:+d} of {counts['exact'][i]}, {off:.1f} sigma")
    for i, what in enumerate(["allocated", "in use"]):
        samples = [counts["samples"][i] for counts in kinds.values()]
        space = 2 * i + 1
        sigma = math.sqrt(sum(max(counts["variance"][space], 0) for counts in kinds.values()) / KINDS)
        mean = sum(counts["exact"][space] for counts in kinds.values()) / KINDS
        print(f"  rate {RATE}, {what}: {min(samples):.0f} to {max(samples):.0f} samples for a label, "
              f"sigma of its bytes {sigma / mean:.2%}")
    print(f"  worst of 160: {worst:.2f} sigma; mean square {squares / 160:.2f}; beyond 3 sigma: {len(beyond)}")
    check("bytes_and_objects_of_each_label", "; ".join(beyond) if worst > 5 or len(beyond) > 8 else "")


def check_selection(work, profile, sums):
    """What -tagfocus leaves is what carries the label; -tags shows all; -tagroot puts them at the root."""
    focused = sums_by_kind(read_raw(pprof(work, "-raw", "-tagfocus=kind=^kind07$", profile)))
    check("tagfocus_selects_a_label", "" if focused == {"kind07": sums["kind07"]} else str(focused))
    tags = pprof(work, "-tags", "-sample_index=alloc_objects", profile)
    section = re.search(r"^ *kind: Total.*\n((?:.*\n)*?)\n", tags + "\n", re.M)
    shown = dict((value, int(float(number))) for number, value in
                 re.findall(r"^\s*(\d+)\s*\([^)]*\): (\w+)$", section.group(1) if section else "", re.M))
    expected = {kind: total[0] for kind, total in sums.items()}
    check("tags_lists_all_labels", "" if shown == expected else f"{shown} is not {expected}: {tags[:500]}")
    roots = pprof(work, "-tagroot=kind", "-top", "-cum", "-nodecount=200", "-sample_index=alloc_space", profile)
    missing = [kind for kind in sums if not re.search(rf"\b{kind}$", roots, re.M)]
    check("tagroot_makes_labels_the_roots", " ".join(missing))


def main():
    if not shutil.which("go"):
        print("FAIL labels: no go: install golang-go")
        return 1
    with tempfile.TemporaryDirectory() as work:
        profile = f"{work}/heap.pb.gz"
        kinds = run_program(profile)
        samples = read_raw(pprof(work, "-raw", profile))
        sums = sums_by_kind(samples)
        compare(kinds, sums)
        check("the_other_label_is_there_too", "" if all(labels.get("service") == "test" for _, labels in samples
                                                        if "kind" in labels) else "not on all samples")
        if MODE == "load":
            late = [labels for _, labels in samples if "phase" in labels]
            check("an_inner_label_adds_to_the_outer", "" if late and all("kind" in l for l in late) else str(late[:3]))
            check_selection(work, profile, sums)
    return failed


sys.exit(main())
