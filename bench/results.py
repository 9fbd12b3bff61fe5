# SPDX-License-Identifier: MIT
"""The samples of a benchmark run and the figures that are compared.

A time is the smallest of the rounds: what disturbs a run can only lengthen it. A peak of memory is the
median. The time of a micro row is wall time per operation; that of a program row is processor time, as the
rest of the machine touches it less.
"""
import csv
import math
import statistics

BASE = "mimalloc"
SUBJECTS = ("halloc", "halloc-0", "halloc-16k", "halloc-1")
TIME_COLUMN = {"micro": "ns_per_op", "program": "cpu_ns_per_op"}


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

    def compared(self):
        """The allocators that take part in every row: a ratio of halloc-1's few rows would mislead."""
        return [name for name in self.allocators if name != "halloc-1"]

    def spread(self, row, allocator):
        """By how much the median round was slower than the fastest."""
        samples = self.times.get((row, allocator), [])
        is_known = len(samples) > 1 and min(samples) > 0
        return statistics.median(samples) / min(samples) - 1 if is_known else None


class Figures:
    """What is no time of an operation: samples[(figure, allocator)]."""

    def __init__(self, path):
        self.samples = {}
        with open(path, newline="", encoding="ascii") as file:
            for line in csv.DictReader(file):
                key = line["figure"], line["allocator"]
                self.samples.setdefault(key, []).append(float(line["value"]))

    def value(self, figure, allocator):
        samples = self.samples.get((figure, allocator))
        if not samples:
            return None
        return min(samples) if figure == "startup" else statistics.median(samples)


def geometric_mean(values):
    known = [value for value in values if value]
    return math.exp(statistics.fmean(map(math.log, known))) if known else None


def ratio(value, base):
    return value / base if value is not None and base else None
