#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Computes the numbers of docs/sampling.md.

usage: sampling.py [--write] FILE

A line `<!-- computed: NAME -->` in FILE stands before a table that this program makes. Without --write, the tables must be
there as they are made, every sentence in CLAIMS must be in the text, and no other number: what is neither computed nor
one of the parameters below is an error. Prints what is wrong; exit status 1.
"""
import math
import re
import sys

KIB, MIB = 1 << 10, 1 << 20
RATE = 512 * KIB  # the default
CLASS_STEP_MAX = 1 / 8  # size classes above 128 bytes: eight for each doubling
OS_PAGE = 4 * KIB
Z95 = 1.96
# What is chosen and not computed, and facts about formats and code.
PARAMETERS = ("S² (1 - p)/p", "w = 1/p", "1/w", "1/sqrt(n)", "(1 - p)^(V/S)", "sqrt(rate (V + 2 B))", "128 KiB", "128 bytes",
              "16 bytes", "64 KiB", "8 MiB", "2 MiB", "4 KiB", "10 MiB", "95 %", "99 %", "10 %", "1 %", "w S or 0", "is 0,", "it is 0 in",
              "was 0 is", "Rate 1 is", "65536 or less", "26 random bits", "53 random bits", "32 bytes", "is shown as 16")


def probability(size, rate=RATE):
    return -math.expm1(-size / rate)


def relative_error(volume, size, rate=RATE):
    p = probability(size, rate)
    return math.sqrt((1 - p) / p * size / volume)


def poisson(mean, count):
    return math.exp(-mean + count * math.log(mean) - math.lgamma(count + 1))


def volume_for(samples, chance):
    """In units of the rate: where a site of small blocks has that many samples or more with that chance."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        enough = middle > 0 and 1 - sum(poisson(middle, n) for n in range(samples)) >= chance
        low, high = (low, middle) if enough else (middle, high)
    return high


def interval_holds(mean):
    """How often n +- 1.96 sqrt(n) holds the mean of n, which is Poisson's."""
    last = int(mean + 20 * math.sqrt(mean) + 30)
    return sum(poisson(mean, n) for n in range(last) if abs(n - mean) <= Z95 * math.sqrt(n))


def mean_of_largest(mean, sites):
    below, total = 0.0, 0.0
    for n in range(200):
        below += poisson(mean, n)
        total += 1 - below**sites
    return total


def distinct_from(base, sigmas=3):
    """The least V with V = sigmas * sqrt(rate * (V + 2 * base))."""
    square = sigmas * sigmas * RATE
    return (square + math.sqrt(square * square + 8 * square * base)) / 2


def size_text(size):
    for unit, name in [(1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B")]:
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.3g} B"


def percent(share):
    if share > 0.9995:
        return f"{100 * share:.2f} %" if share < 0.99995 else "100 %"
    return f"{100 * share:.3g} %"


def weight_text(weight):
    return f"{weight:.1f}" if weight > 10 else f"{weight:.3f}"


def seconds_text(seconds):
    for unit, name in [(3600, "h"), (60, "min"), (1, "s")]:
        if seconds >= unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds:.2g} s"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def weights():
    sizes = [16, 64, KIB, 4 * KIB, 64 * KIB, RATE, MIB, 4 * MIB]
    return table(["block size", "p at 512 KiB", "weight", "p at 64 KiB", "weight"],
                 [[size_text(size)] + [text for rate in (RATE, 64 * KIB) for text in
                                       (percent(probability(size, rate)), weight_text(1 / probability(size, rate)))]
                  for size in sizes])


def errors():
    volumes = [MIB, 10 * MIB, 100 * MIB, 1024 * MIB]
    rows = [[size_text(size)] + [percent(relative_error(volume, size)) if size <= volume else "" for volume in volumes]
            for size in (16, 4 * KIB, 64 * KIB, RATE, MIB, 4 * MIB)]
    return table(["block size"] + [f"{size_text(v)} in all" for v in volumes], rows)


def found():
    volumes = [0.1, 0.5, 1, 2, volume_for(1, 0.99), 10]
    return table(["bytes, in rates", "at 512 KiB", "has a sample", "has three or more"],
                 [[f"{v:.3g}", size_text(v * RATE), percent(1 - math.exp(-v)),
                   percent(1 - sum(poisson(v, n) for n in range(3)))] for v in volumes])


def leaks():
    rates = [4 * KIB, 64 * KIB, RATE, 2 * MIB]
    return table(["leak per second"] + [f"rate {size_text(rate)}" for rate in rates],
                 [[size_text(leak)] + [seconds_text(volume_for(1, 0.99) * rate / leak) for rate in rates]
                  for leak in (KIB, 10 * KIB, 100 * KIB, MIB)])


def distinct():
    bases = [0, 10 * MIB, 100 * MIB, 1024 * MIB]
    return table(["replaced meanwhile (B)"] + [size_text(base) if base else "nothing" for base in bases],
                 [["leaked (V)"] + [size_text(distinct_from(base)) for base in bases]])


def intervals():
    means = [1, 2, 5, 10, 20, 50, 100, 1000]
    return table(["samples expected"] + [f"{mean}" for mean in means],
                 [["interval holds"] + [percent(interval_holds(mean)) for mean in means],
                  ["no sample at all"] + [percent(math.exp(-mean)) if mean < 20 else "never" for mean in means]])


def rates():
    return table(["rate", "samples per GiB allocated", "site found with 99 % from", "error of a site of 10 MiB",
                  "of 1 GiB", "records, of the heap"],
                 [[f"{rate}", f"{1024 * MIB / rate:.0f}", size_text(volume_for(1, 0.99) * rate),
                   percent(math.sqrt(rate / (10 * MIB))), percent(math.sqrt(rate / (1024 * MIB))),
                   f"{100 * 32 / rate:.2g} %"] for rate in (4 * KIB, 32 * KIB, 64 * KIB, RATE, 2 * MIB)])


TABLES = {f.__name__: f for f in (weights, errors, found, leaks, distinct, intervals, rates)}


def claims():
    """The sentences of the text that have computed numbers."""
    one, three = volume_for(1, 0.99), volume_for(3, 0.99)
    yield f"allocates {one:.2f} times the rate has a sample with 99 % probability. At the default rate that is " \
          f"{one * RATE / MIB:.2f} MiB."
    yield f"need {three:.2f} times the rate"
    weight = 1 / probability(16)
    yield f"weigh {weight:.1f} blocks"
    yield f"sometimes shown at {weight / 1000:.0f} times its size"
    yield f'"± {Z95} standard errors"'
    none = -math.log(0.05)
    yield f"less than {none:.2f} times the rate with 95 % probability: {none * RATE / MIB:.2f} MiB at the default rate"
    largest = mean_of_largest(4, 100)
    yield f"the largest shows {largest:.1f} samples on average, {largest / 4:.1f} times what it has"
    small, large = probability(16), probability(64 * KIB)
    counts = MIB / 16, 10 * MIB / (64 * KIB)
    spreads = counts[0] * (1 - small) / small, counts[1] * (1 - large) / large
    objects = math.sqrt(sum(spreads)) / sum(counts)
    size = math.sqrt(spreads[0] * 16**2 + spreads[1] * (64 * KIB) ** 2) / (11 * MIB)
    yield f"objects are known to {100 * objects:.0f} %, bytes to {100 * size:.0f} %"
    yield f"up to {100 * CLASS_STEP_MAX:.1f} % larger than the request, above 128 KiB up to {OS_PAGE - 1} bytes"
    ten = 10 / probability(8 * MIB, 2 * MIB)
    yield f"are {ten:.2f} objects by weight, shown as {ten:.0f}"
    yield f"need a rate of {0.1**2 * 10 * MIB / KIB:.0f} KiB"
    yield f"at most {26 * math.log(2):.2f} times the rate"


def plain(text):
    return re.sub(r"\s+", " ", text)


def without_tables(lines):
    """The lines less the computed tables, and these: {name: lines}."""
    rest, tables, name = [], {}, None
    for line in lines:
        mark = re.fullmatch(r"<!-- computed: (\w+) -->", line)
        name = mark.group(1) if mark else name if line.startswith("|") and name else None
        if name:
            tables.setdefault(name, [])
            tables[name] += [] if mark else [line]
        else:
            rest.append(line)
    return rest, tables


def check(lines):
    rest, tables = without_tables(lines)
    problems = [f"the table {name} is not what is computed" for name in TABLES if tables.get(name) != TABLES[name]()]
    problems += [f"no such table: {name}" for name in tables if name not in TABLES]
    text = plain(re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", "", "\n".join(rest), flags=re.S))
    for claim in [*map(plain, claims()), *PARAMETERS]:
        if claim not in text and claim not in PARAMETERS:
            problems.append(f"not in the text: {claim}")
        text = text.replace(claim, "")
    return problems + [f"where does this number come from? ...{text[max(0, m.start() - 40):m.end() + 20]}..."
                       for m in re.finditer(r"\d[\d.,]*", text)]


def write(lines):
    """With the tables as computed."""
    result, inside = [], False
    for line in lines:
        mark = re.fullmatch(r"<!-- computed: (\w+) -->", line)
        inside = inside and line.startswith("|")
        if not inside:
            result.append(line)
        if mark:
            result += TABLES[mark.group(1)]()
            inside = True
    return result


def main():
    wants_write = sys.argv[1:2] == ["--write"]
    if len(sys.argv) != 2 + wants_write:
        sys.exit(__doc__)
    path = sys.argv[-1]
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    if wants_write:
        lines = write(lines)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    problems = check(lines)
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
