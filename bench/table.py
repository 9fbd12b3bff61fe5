# SPDX-License-Identifier: MIT
"""Prints the tables of a benchmark run in Markdown that also lines up as plain text.

    table.py bench.csv ALLOCATOR...

A time is the smallest of the rounds: what disturbs a run can only lengthen it. A peak of memory is the
median. The time of a micro row is wall time per operation; that of a program row is processor time, as the
rest of the machine touches it less. The allocators are the columns; one that finished no run of a row has a
dash there.
"""
import csv
import math
import statistics
import sys

BASE = "mimalloc"
SUBJECTS = ("halloc", "halloc-0")
TIME_COLUMN = {"micro": "ns_per_op", "program": "cpu_ns_per_op"}
TIME_UNITS = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1))
MIB = 1 << 20
ABSENT = "-"


class Results:
    """The samples of each (row, allocator); rows in the order of their first appearance."""

    def __init__(self, path, allocators):
        self.kinds = {}
        self.allocators = allocators
        self.times = {}
        self.peaks = {}
        with open(path, newline="", encoding="ascii") as file:
            for line in csv.DictReader(file):
                self.add(line)

    def add(self, line):
        row, allocator, kind = line["row"], line["allocator"], line["kind"]
        self.kinds.setdefault(row, kind)
        self.times.setdefault((row, allocator), []).append(float(line[TIME_COLUMN[kind]]))
        self.peaks.setdefault((row, allocator), []).append(float(line["peak_rss_bytes"]))

    def rows(self, kind=None):
        return [row for row in self.kinds if kind in (None, self.kinds[row])]

    def time(self, row, allocator):
        """The figure that is compared, or None when nothing was measured."""
        samples = self.times.get((row, allocator))
        return min(samples) if samples else None

    def peak(self, row, allocator):
        samples = self.peaks.get((row, allocator))
        return statistics.median(samples) if samples else None

    def spread(self, row, allocator):
        """By how much the median round was slower than the fastest."""
        samples = self.times.get((row, allocator), [])
        is_known = len(samples) > 1 and min(samples) > 0
        return statistics.median(samples) / min(samples) - 1 if is_known else None


def format_time(ns):
    for unit, size in TIME_UNITS:
        if ns >= size:
            break
    value = ns / size
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def format_with(form, value):
    return ABSENT if value is None else form(value)


def format_ratio(value):
    return format_with("{:.2f}".format, value)


def geometric_mean(values):
    known = [value for value in values if value]
    return math.exp(statistics.fmean(map(math.log, known))) if known else None


def ratio(value, base):
    return value / base if value is not None and base else None


def print_table(title, note, head, body):
    """The first column is text; the others are aligned to the right."""
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]

    def print_line(cells):
        columns = [cells[0].ljust(widths[0])]
        columns += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        print("| " + " | ".join(columns) + " |")

    print(f"### {title}\n\n{note}\n")
    for line in [head, rule, *body]:
        print_line(line)
    print()


def print_values(results, title, note, form, value_of):
    head = ["row", *results.allocators]
    body = []
    for row in results.rows():
        body.append([row] + [format_with(form, value_of(row, name)) for name in results.allocators])
    print_table(title, note, head, body)


def print_ratios(results, title, note, columns, ratio_of):
    """A line for each row, then geometric means: of each kind when there are two, and of all rows."""
    body = [[row] + [format_ratio(ratio_of(row, name)) for name in columns] for row in results.rows()]
    groups = [("all rows", results.rows())]
    if results.rows("micro") and results.rows("program"):
        groups[:0] = [("micro rows", results.rows("micro")), ("program rows", results.rows("program"))]
    for label, rows in groups:
        means = [geometric_mean([ratio_of(row, name) for row in rows]) for name in columns]
        body.append([f"geometric mean, {label}"] + [format_ratio(mean) for mean in means])
    print_table(title, note, ["row", *columns], body)


def print_against_base(results, what, value_of):
    title = f"{what} relative to {BASE}"
    columns = [name for name in results.allocators if name != BASE]
    if BASE not in results.allocators or not columns:
        reason = f"{BASE} was not measured" if columns else "nothing else was measured"
        print(f"### {title}\n\nNothing to compare: {reason}.\n")
        return
    note = f"Each allocator divided by {BASE}; below 1.00 is better than {BASE}."
    print_ratios(results, title, note, columns,
                 lambda row, name: ratio(value_of(row, name), value_of(row, BASE)))


def print_against_peers(results, subject, what, value_of):
    columns = [name for name in results.allocators if name not in SUBJECTS]
    if subject in results.allocators and columns:
        title = f"{what} of {subject} relative to each peer"
        note = f"{subject} divided by the peer of the column; below 1.00 is better than the peer."
        print_ratios(results, title, note, columns,
                     lambda row, name: ratio(value_of(row, subject), value_of(row, name)))


def main():
    results = Results(sys.argv[1], sys.argv[2:])
    if not results.rows():
        sys.exit("table.py: no run finished, there is nothing to show")
    for what, value_of in (("Time", results.time), ("Peak memory", results.peak)):
        print_against_base(results, what, value_of)
        for subject in SUBJECTS:
            print_against_peers(results, subject, what, value_of)
    print_values(results, "Time of one operation",
                 "Smallest of the rounds: wall time in micro rows, processor time in program rows.",
                 format_time, results.time)
    print_values(results, "Spread of the rounds",
                 "How much slower the median round was than the fastest; differences below this are noise.",
                 "{:.1%}".format, results.spread)
    print_values(results, "Peak memory, MiB", "Median of the rounds of the largest resident size.",
                 lambda value: f"{value / MIB:.1f}", results.peak)


main()
