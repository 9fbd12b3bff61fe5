#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Judges the numbers of one heap profile, read from what `go tool pprof -raw -symbolize=none` prints.

usage: check_totals.py MAPPING SHARE <raw

At least SHARE of inuse_space must lie on stacks whose first frame is named and belongs to a mapping whose file name
begins with MAPPING; and inuse_space must be within three standard errors of the exact HeapAlloc in the comments. The
standard error is computed from the rows; the one in the comments may differ by 5 %, since rows of large blocks tell
only their mean size.
Prints what it found; exit status 1 and a last line with the reason if it is not so.
"""
import math
import re
import sys

mapping_name, least_share = sys.argv[1], float(sys.argv[2])
section, rate, exact, stated = "head", 0, None, None
samples, leaf, mappings = [], {}, {}
for line in sys.stdin:
    if line.strip() in ("Samples:", "Locations", "Mappings"):
        section = line.strip()
    elif section == "head":
        found = re.match(r"Period: (\d+)", line)
        rate = int(found.group(1)) if found else rate
        found = re.search(r"halloc: exact HeapAlloc=(\d+)", line)
        exact = int(found.group(1)) if found else exact
        found = re.search(r"halloc: sampled .*inuse_space_se=(\d+)", line)
        stated = int(found.group(1)) if found else stated
    elif section == "Samples:":
        found = re.match(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+): *(\d+)?", line)
        if found:
            samples.append([int(found.group(3)), int(found.group(4)), found.group(5), 0])
        found = re.search(r"\bbytes:\[(\d+)(?: bytes)?\]", line)
        if found:
            samples[-1][3] = int(found.group(1))
    elif section == "Locations":
        found = re.match(r"\s*(\d+): 0x[0-9a-f]+ (?:M=(\d+) )?(\S+)?", line)
        leaf[found.group(1)] = found.group(2), found.group(3)
    elif section == "Mappings":
        found = re.match(r"(\d+): \S+ (\S+)", line)
        mappings[found.group(1)] = found.group(2).rsplit("/", 1)[-1]

total = variance = inside = 0
for objects, space, first, size in samples:
    total += space
    mapping, name = leaf.get(first, (None, None))
    if name is not None and mappings.get(mapping, "").startswith(mapping_name):
        inside += space
    if objects > 0 and rate > 1:
        p = -math.expm1(-size / rate)
        variance += objects * p * size**2 * (1 - p) / p**2
if exact is None or stated is None or total == 0:
    sys.exit("no exact HeapAlloc, no standard error or no samples")
sigma = math.sqrt(variance)
print(f"inuse_space {total}, exact {exact}, difference {(total - exact) / sigma:.2f} standard errors of {sigma:.0f}, "
      f"{inside / total:.2%} in {mapping_name}, {len(samples)} samples")
if inside < least_share * total:
    sys.exit(f"only {inside / total:.2%} of inuse_space is on functions of {mapping_name}")
if abs(total - exact) >= 3 * sigma:
    sys.exit(f"inuse_space {total} is {(total - exact) / sigma:.2f} standard errors from the exact {exact}")
if abs(stated - sigma) > 0.05 * sigma:
    sys.exit(f"the comments state a standard error of {stated}, the rows have {sigma:.0f}")
