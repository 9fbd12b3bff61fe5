# SPDX-License-Identifier: MIT
"""Prints the tables of a benchmark run in Markdown that also lines up as plain text.

    table.py DIR ALLOCATOR...                  from DIR/bench.csv and DIR/figures.csv; writes DIR/bench.svg
    table.py --instructions DIR ALLOCATOR...   from DIR/instructions.csv

The allocators are the columns; one that finished no run of a row has a dash there. results.py says what the
figures are.
"""
import csv
import os
import sys

from chart import write_chart
from results import BASE, SUBJECTS, Figures, Results, geometric_mean, ratio
from summary import print_summary

TIME_UNITS = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1))
MIB = 1 << 20
ABSENT = "-"


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
    columns = [name for name in results.compared() if name != BASE]
    if BASE not in results.allocators or not columns:
        reason = f"{BASE} was not measured" if columns else "nothing else was measured"
        print(f"### {title}\n\nNothing to compare: {reason}.\n")
        return
    note = f"Each allocator divided by {BASE}; below 1.00 is better than {BASE}."
    print_ratios(results, title, note, columns,
                 lambda row, name: ratio(value_of(row, name), value_of(row, BASE)))


def print_against_peers(results, subject, what, value_of):
    columns = [name for name in results.compared() if name not in SUBJECTS]
    if subject in results.compared() and columns:
        title = f"{what} of {subject} relative to each peer"
        note = f"{subject} divided by the peer of the column; below 1.00 is better than the peer."
        print_ratios(results, title, note, columns,
                     lambda row, name: ratio(value_of(row, subject), value_of(row, name)))


def print_instructions(path, allocators):
    counts, rows = {}, {}
    with open(path, newline="", encoding="ascii") as file:
        for line in csv.DictReader(file):
            rows[line["row"]] = None
            counts[line["row"], line["allocator"]] = line["instructions_per_op"]
    body = [[row] + [counts.get((row, name), ABSENT) for name in allocators] for row in rows]
    print_table("Instructions of one operation",
                "User-space instructions outside the benchmark program itself; start-up cancels.",
                ["row", *allocators], body)


def print_figures(figures, allocators):
    rows = (("startup", "start-up of /bin/true", format_time),
            ("thread_rss", "thread with 1000 blocks, KiB", lambda value: f"{value / 1024:.1f}"),
            ("thread_drift", "10,000 threads in turn, KiB", lambda value: f"{value / 1024:.0f}"))
    body = []
    for figure, label, form in rows:
        values = [figures.value(figure, name) for name in allocators]
        if any(value is not None for value in values):
            body.append([label] + [format_with(form, value) for value in values])
    if body:
        print_table("Start-up and threads",
                    "Start-up: shortest of all runs. Memory: growth, median of the rounds.",
                    ["figure", *allocators], body)


def print_times(results, directory):
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
    write_chart(results, os.path.join(directory, "bench.svg"))


def main():
    arguments = sys.argv[1:]
    if arguments[0] == "--instructions":
        print_instructions(os.path.join(arguments[1], "instructions.csv"), arguments[2:])
        return
    directory, allocators = arguments[0], arguments[1:]
    results = Results(os.path.join(directory, "bench.csv"), allocators)
    figures = Figures(os.path.join(directory, "figures.csv"))
    if not results.rows() and not figures.samples:
        sys.exit("table.py: no run finished, there is nothing to show")
    if results.rows():
        print_times(results, directory)
    plain = [name for name in allocators if name not in ("halloc-1", "halloc-16k")]
    print_figures(figures, plain)
    print_summary(results, figures)


main()
