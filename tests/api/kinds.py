#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Compares every kind of profile, as `go tool pprof` reads it, with what the program knows that it allocated (kinds.c).

What could break a user here: a kind that readers refuse, a leak since a mark that is not shown, a peak of another
moment, frees under the wrong lifetime, a delta that is lost when somebody looks at its text form, rows that do not add
up to the totals.

Everything is sampled (rate 1) and must be exact, but for the fragmented program: there, samples say whose the free
memory is. All of its class is one site's but for what libc allocated, and the class's total is exact, so 2 % are
allowed for pages that others share.

usage: kinds.py PROGRAM LIBRARY
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM, LIBRARY = sys.argv[1:3]
AGES = [0, 1, 10, 60, 600, 3600, 86400]
TYPES = {
    "heap": ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"],
    "allocs": ["alloc_objects/count", "alloc_space/bytes[dflt]", "inuse_objects/count", "inuse_space/bytes"],
    "delta_heap": ["alloc_objects/count", "alloc_space/bytes[dflt]", "inuse_objects/count", "inuse_space/bytes"],
    "peak": ["inuse_objects/count", "inuse_space/bytes"],
    "since_mark": ["inuse_objects/count", "inuse_space/bytes"],
    "lifetimes": ["freed_objects/count", "freed_space/bytes"],
    "fragmentation": ["inuse_space/bytes", "fragmentation_space/bytes"],
}
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def run_program(work, mode, rate, **settings):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HALLOC_") and k != "LD_PRELOAD"}
    environment.update(HALLOC_MEMPROFILERATE=rate, LD_PRELOAD=LIBRARY, HALLOC_BACKGROUND="0", **settings)
    output = subprocess.run([PROGRAM, work, mode], env=environment, check=True, capture_output=True, text=True).stdout
    return [line.split() for line in output.splitlines()]


def pprof(work, *options):
    environment = dict(os.environ, PPROF_TMPDIR=work, PPROF_BINARY_PATH=work, GOTOOLCHAIN="local")
    if "HOME" not in environment:
        environment["GOCACHE"] = work
    return subprocess.run(["go", "tool", "pprof", "-symbolize=none", *options], env=environment, check=True,
                          capture_output=True, text=True).stdout


class Profile:
    """rows: [(site, [value], {label: text or number})]; the site is the innermost function."""

    def __init__(self, work, name):
        text = pprof(work, "-raw", f"{work}/{name}.pb.gz")
        head, rest = text.split("Samples:\n")
        samples, rest = rest.split("Locations\n")
        self.comments = " ".join(re.findall(r"^Comment: (.*)$", head, re.M))
        self.duration = re.search(r"^Duration: (.*)$", head, re.M)
        names = dict(re.findall(r"^\s*(\d+): 0x\w+ (?:M=\d+ )?(\S+) ", rest.split("Mappings\n")[0], re.M))
        lines = samples.splitlines()
        self.types, self.rows = lines[0].split(), []
        for line in lines[1:]:
            values = re.match(r"((?:\s+-?\d+)+): (\d+)", line)
            if values:
                site = names.get(values.group(2), "?").split(".")[0]  # compilers name copies NAME.constprop.0
                self.rows.append((site, [int(v) for v in values.group(1).split()], {}))
            else:
                for key, value in re.findall(r"(\w+):\[([^\]]*)\]", line):
                    self.rows[-1][2][key] = int(value.split()[0]) if re.match(r"\d+ \w+$", value) else value

    def sums(self, site=None):
        rows = [values for name, values, _ in self.rows if site in (None, name)]
        return [sum(column) for column in zip(*rows)] if rows else [0] * len(self.types)


def check_kinds(work, lines, profiles):
    wrong = [f"{kind}: {profile.types}" for kind, profile in profiles.items() if profile.types != TYPES[kind.split(".")[0]]]
    check("types_of_each_kind", "; ".join(wrong))
    wrong = []
    for kind, site, objects, size in (line for line in lines if line[0] != "seconds"):
        sums = profiles[kind].sums(site)
        value = 2 if kind == "heap" else 0
        if sums[value:value + 2] != [int(objects), int(size)]:
            wrong.append(f"{kind} {site}: {sums[value:value + 2]} instead of {objects}, {size}")
    check("values_of_each_site", "; ".join(wrong))


def check_ages(lines, heap):
    wrong = []
    for _, site, least, most in (line for line in lines if line[0] == "seconds"):
        # A tick more or less; the label is the lower bound of the age's range.
        least, most = float(least) - 0.05, float(most) + 0.05
        allowed = [age for i, age in enumerate(AGES) if age <= most and (AGES + [1e9])[i + 1] >= least]
        found = [labels["age"] for name, values, labels in heap.rows if name == site and values[2] > 0]
        if not found or set(found) - set(allowed):
            wrong.append(f"{site}: {found}, not in {allowed}")
    check("ages_are_lower_bounds", "; ".join(wrong))
    asked = {name: labels.get("request") for name, values, labels in heap.rows if values[2] > 0}
    expected = {"old_leak": 100, "new_leak": 40, "large": 300000, "of_reader": 777}
    check("what_was_asked_for", "" if expected.items() <= asked.items() else f"{asked}")
    allocated = [labels.keys() - {"bytes", "thread"} for _, values, labels in heap.rows if values[0] > 0]
    check("rows_of_allocations_look_the_same_each_time", "" if not any(allocated) else str(allocated))


def check_totals(profiles):
    heap = profiles["heap"]
    totals = dict(re.findall(r"(\w+)=(\d+)", heap.comments))
    check("rows_add_up", "" if heap.sums()[1::2] == [int(totals["alloc_space"]), int(totals["inuse_space"])] else
          f"{heap.sums()} of {totals}")
    peak = profiles["peak"]
    height = int(re.search(r"peak inuse_space=(\d+)", peak.comments).group(1))
    check("the_peak_is_as_high_as_it_says", "" if peak.sums()[1] == height else f"{peak.sums()[1]} of {height}")
    in_use = [profile.sums()[2:] for kind, profile in profiles.items() if kind in ("heap", "delta_heap", "delta_heap.after")]
    check("in_use_is_the_same_in_deltas", "" if in_use[0] == in_use[1] == in_use[2] else str(in_use))
    check("deltas_have_a_duration", "" if all(profile.duration for kind, profile in profiles.items() if "delta" in kind)
          else "none")
    check("since_mark_names_the_mark", "" if "mark=1 " in profiles["since_mark"].comments else
          profiles["since_mark"].comments)


def check_lifetimes(lifetimes):
    found = {}
    for site, values, labels in lifetimes.rows:
        found.setdefault(site, {})[labels.get("lifetime", -1)] = values[0]
    # A thread that is put aside may keep some for longer.
    short = found.get("short_lived", {}).get(0, 0)
    long = {lifetime for lifetime in found.get("old_leak", {}) if lifetime < 1000}
    check("lifetimes", "" if short > 4500 and not long else f"{found}")


def check_text(work):
    wrong = []
    for kind, types in TYPES.items():
        with open(f"{work}/{kind}.txt", encoding="utf-8") as file:
            first = file.readline().strip()
        is_heap = kind in ("heap", "allocs")
        if not re.match(r"heap profile: \d+: \d+ \[\d+: \d+\] @ heap_v2/1$" if is_heap else rf"{kind} profile: total \d+$", first):
            wrong.append(f"{kind} begins with {first}")
        total = pprof(work, "-top", "-unit=B", *(["-sample_index=alloc_space"] if kind == "allocs" else []), f"{work}/{kind}.txt")
        if not re.search(r"^Showing nodes accounting for \d+", total, re.M):
            wrong.append(f"{kind}: {total[:300]}")
    check("pprof_reads_the_text_forms", "; ".join(wrong))


def check_fragmentation(lines, fragmentation):
    (_, site, _, size), = lines
    found, expected = fragmentation.sums(site)[1], int(size)
    print(f"  {found} of {expected} free bytes, {found / expected - 1:+.2%}")
    check("free_memory_is_its_holders", "" if abs(found / expected - 1) < 0.02 else f"{found} of {expected}")


def main():
    if not shutil.which("go"):
        print("FAIL kinds: no go: install golang-go")
        return 1
    with tempfile.TemporaryDirectory() as work:
        lines = run_program(work, "exact", "1", HALLOC_LABEL_THREAD="1")
        profiles = {kind: Profile(work, kind) for kind in [*TYPES, "delta_heap.before", "delta_heap.after"]}
        check_kinds(work, lines, profiles)
        check_ages(lines, profiles["heap"])
        check_totals(profiles)
        check_lifetimes(profiles["lifetimes"])
        check_text(work)
        threads = {(site, labels.get("thread")) for site, _, labels in profiles["heap"].rows
                   if site in ("of_reader", "old_leak")}
        name = os.path.basename(PROGRAM)[:15]
        check("threads_by_name", "" if threads == {("of_reader", "a reader"), ("old_leak", name)} else str(threads))
    with tempfile.TemporaryDirectory() as work:
        lines = run_program(work, "fragmented", "16384")
        profile = Profile(work, "fragmentation")
        check_fragmentation(lines, profile)
        threads = [labels for _, _, labels in Profile(work, "heap").rows if "thread" in labels]
        check("no_names_of_threads_unless_asked", str(threads[:1]) if threads else "")
    return failed


sys.exit(main())
