# SPDX-License-Identifier: MIT
"""Reads what callgrind wrote.

    callgrind.py total FILE PROGRAM
    callgrind.py function FILE LIBRARY NAME...

The first prints the instructions of everything but the program's own file. The second prints for each
function of a library: name, calls, instructions in all, the number of different instructions that more than
half of the calls executed (with --dump-instr=yes), and a digest of where they are. LIBRARY is a part of the
path. The format: valgrind.org/docs/manual/cl-format.html.
"""
import collections
import os
import sys
import zlib

NAME_KEYS = {"ob": "object", "cob": "object", "fn": "function", "cfn": "function"}


class Profile:
    """own[(object, function)][position] is what was executed there; calls has the same keys."""

    def __init__(self, path):
        self.own = collections.defaultdict(collections.Counter)
        self.calls = collections.Counter()
        self.names = {"object": {}, "function": {}}
        self.here = {"ob": "", "fn": ""}
        self.callee = {}
        self.position = []
        self.position_count = 1
        self.is_call_cost = False
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                self.read(line.strip())

    def read(self, line):
        key, mark, rest = line.partition("=")
        if line.startswith("positions:"):
            self.position_count = len(line.split()) - 1
        elif line[:1] in "0123456789+-*" and line:
            self.read_cost(line.split())
        elif mark and key in NAME_KEYS:
            self.set_name(key, self.expand(NAME_KEYS[key], rest))
        elif mark and key == "calls":
            callee = self.callee.get("cob", self.here["ob"]), self.callee["cfn"]
            self.calls[callee] += int(rest.split()[0])
            self.callee = {}
            self.is_call_cost = True

    def set_name(self, key, name):
        if key.startswith("c"):
            self.callee[key] = name
        else:
            self.here[key] = name

    def expand(self, kind, text):
        """`(7) name` defines a name that later is only `(7)`."""
        number, _, name = text.partition(" ")
        if not number.startswith("("):
            return text
        if name:
            self.names[kind][number] = name
        return self.names[kind][number]

    def read_cost(self, words):
        """Positions are relative to those of the line before. The cost of a call is that of the callee."""
        positions = words[:self.position_count]
        before = self.position or [0] * self.position_count
        self.position = [self.move(old, word) for old, word in zip(before, positions)]
        cost = int(words[self.position_count]) if len(words) > self.position_count else 0
        if not self.is_call_cost:
            self.own[self.here["ob"], self.here["fn"]][self.position[0]] += cost
        self.is_call_cost = False

    @staticmethod
    def move(old, word):
        if word == "*":
            return old
        return old + int(word, 0) if word[0] in "+-" else int(word, 0)


def print_total(profile, program):
    program = os.path.realpath(program)
    print(sum(sum(costs.values()) for (name, _), costs in profile.own.items() if name != program))


def print_function(profile, library, function):
    keys = [key for key in profile.own if library in key[0] and key[1] == function]
    if len(keys) != 1:
        sys.exit(f"callgrind.py: {function} of {library} was found {len(keys)} times")
    costs, calls = profile.own[keys[0]], profile.calls[keys[0]]
    first = min(costs)
    usual = [position - first for position, cost in sorted(costs.items()) if cost > calls / 2]
    print(function, calls, sum(costs.values()), len(usual), f"{zlib.crc32(repr(usual).encode()):08x}")


def main():
    if len(sys.argv) < 4 or sys.argv[1] not in ("total", "function"):
        sys.exit(__doc__)
    profile = Profile(sys.argv[2])
    if sys.argv[1] == "total":
        print_total(profile, sys.argv[3])
    for function in sys.argv[4:]:
        print_function(profile, sys.argv[3], function)


main()
