#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Compares what `go tool pprof` reads from a CPU profile with the processor time that the program measured itself.

What could break a user here: hot functions that look cold, samples of one thread under the labels of another, time that
is counted twice or not at all.

The total is not a matter of chance: each thread's timer fires after every 10 ms of its own processor time, so the total
may be off by one period for each thread and one for the main thread. Which function a sample falls on is: with n samples
in all, a function with share p has n p of them with standard deviation sqrt(n p (1 - p)). None of the four may be off by
more than 4 of those, for which the chance is 3e-4.

usage: cpu.py PROGRAM LIBRARY MILLISECONDS       LIBRARY is preloaded
"""
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM, LIBRARY, MILLISECONDS = sys.argv[1:4]
PERIOD = 10_000_000
THREADS = 3
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def pprof(work, *options):
    environment = dict(os.environ, PPROF_TMPDIR=work, PPROF_BINARY_PATH=work, GOTOOLCHAIN="local")
    if "HOME" not in environment:
        environment["GOCACHE"] = work
    return subprocess.run(["go", "tool", "pprof", "-symbolize=none", *options], env=environment, check=True,
                          capture_output=True, text=True).stdout


def read_raw(text):
    """[(count, nanos, [location, ...], {key: value})] and {location: name}"""
    samples, names = [], {}
    body, locations = text.split("Samples:\n")[1].split("Locations\n")
    for line in body.splitlines()[1:]:
        values = re.match(r"\s*(\d+)\s+(\d+): ([\d ]*)", line)
        if values:
            samples.append((int(values[1]), int(values[2]), values[3].split(), {}))
        else:
            samples[-1][3].update(re.findall(r"(\w+):\[([^\]]*)\]", line))
    for line in locations.split("Mappings")[0].splitlines():
        found = re.match(r"\s*(\d+): 0x\w+ (?:M=\d+ )?(\S+)", line)
        if found:
            names[found[1]] = found[2]
    return samples, names


def main():
    if not shutil.which("go"):
        print("FAIL cpu: no go: install golang-go")
        return 1
    with tempfile.TemporaryDirectory() as work:
        profile = f"{work}/cpu.pb.gz"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HALLOC_") and k != "LD_PRELOAD"}
        environment.update(LD_PRELOAD=LIBRARY)
        output = subprocess.run([PROGRAM, profile, MILLISECONDS], env=environment, check=True, capture_output=True,
                                text=True).stdout
        truth = {name: int(nanos) for name, nanos in (line.split() for line in output.splitlines())}
        raw = pprof(work, "-raw", profile)
        samples, names = read_raw(raw)
        n = sum(sample[0] for sample in samples)
        check("types_and_period", "" if re.search(r"^PeriodType: cpu nanoseconds\nPeriod: 10000000\n", raw, re.M) and
              re.search(r"^samples/count cpu/nanoseconds", raw, re.M) else raw[:300])
        check("nanoseconds_are_samples_times_the_period",
              "" if all(nanos == count * PERIOD for count, nanos, _, _ in samples) else "not in all rows")
        off = n * PERIOD - truth["all"]
        check("the_total_is_the_time_used",
              "" if abs(off) <= THREADS * PERIOD else f"{n} samples for {truth['all'] / 1e6:.1f} ms")
        by_name, by_label, leaves = {}, {}, {}
        for count, _, stack, labels in samples:
            for name in {names.get(location, "?") for location in stack}:
                by_name[name] = by_name.get(name, 0) + count
            leaf = names.get(stack[0], "?")
            leaves[leaf] = leaves.get(leaf, 0) + count
            for key, value in labels.items():
                by_label[f"{key}={value}"] = by_label.get(f"{key}={value}", 0) + count
        for name in ("burns_one", "burns_two", "burns_four", "burns_in_malloc"):
            share = truth[name] / truth["all"]
            sigma = math.sqrt(n * share * (1 - share))
            found = by_name.get(name, 0)
            print(f"  {name}: {found} of {n} samples, expected {n * share:.1f} with sigma {sigma:.1f}: "
                  f"{(found - n * share) / sigma:+.2f} sigma")
            check(f"share_of_{name}", "" if abs(found - n * share) <= 4 * sigma else f"{found} of {n}")
        for worker in ("worker=first", "worker=second"):
            off = by_label.get(worker, 0) * PERIOD - truth[worker]
            check(f"time_under_{worker}", "" if abs(off) <= 2 * PERIOD else f"off by {off / 1e6:.1f} ms")
        check("all_samples_of_threads_have_the_label_of_both",
              "" if by_label.get("service=test", 0) >= n - 2 else f"{by_label} of {n}")
        check("malloc_is_shown", "" if leaves.get("malloc", 0) + leaves.get("free", 0) > 0 else str(leaves))
        roots = {names.get(stack[-1], "?") for _, _, stack, _ in samples}
        # What is settled at a thread's end has the stack "work".
        check("stacks_reach_their_end", "" if roots <= {"clone3", "clone", "_start", "work"} else str(roots))
        top = pprof(work, "-top", profile)
        check("top_shows_cpu_time", "" if "Type: cpu" in top and "burns_four" in top else top[:300])
    return failed


sys.exit(main())
