#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes small profiles with known numbers, one protobuf field at a time, with no library but Python's own.

usage: make_profile.py KIND FILE

Nothing here is shared with the reader under test, so a misunderstanding of the format shows as a difference.
For the kind "known" what is expected of inuse_space goes to standard output: total, standard error, sample count, the
ends of the 95 % interval, and the standard errors of the functions leaf and recurse.
"""
import gzip
import math
import sys

RATE = 524288
MB = 1 << 20
TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"),
         ("inuse_objects", "count"), ("inuse_space", "bytes")]
MALLOC, CALLOC, NEW, MAIN, WORK, LEAF, RECURSE, MEMBER, TEMPLATE = range(1, 10)
FUNCTIONS = ["malloc", "calloc", "_Znwm", "main", "work", "leaf", "recurse", "_ZN5space5Thing3addEib",
             "_ZN5space4fillISt6vectorIiSaIiEEEEvRT_"]
# Innermost first: objects allocated, objects in use, bytes of one object.
SAMPLES = [
    ([MALLOC, LEAF, WORK, MAIN], 10, 7, 3 * MB),
    ([MALLOC, LEAF, WORK, MAIN], 4000, 2000, 512),
    ([CALLOC, RECURSE, RECURSE, RECURSE, MAIN], 300, 100, 65536),
    ([NEW, MEMBER, TEMPLATE, WORK, MAIN], 50, 50, 100000),
    ([NEW, TEMPLATE, MAIN], 9, 0, 4096),
    ([MALLOC, WORK, MAIN], 12, 1, 7),
]
TOTAL = sum(used * size for _, _, used, size in SAMPLES)


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def number(field, n):
    return varint(field << 3) + varint(n)


def data(field, body):
    body = body.encode() if isinstance(body, str) else body
    return varint(field << 3 | 2) + varint(len(body)) + body


class Profile:
    def __init__(self):
        self.strings = [""]
        self.body = b""

    def text(self, s):
        if s not in self.strings:
            self.strings.append(s)
        return self.strings.index(s)

    def head(self, rate=RATE, types=TYPES, comments=()):
        for name, unit in types:
            self.body += data(1, number(1, self.text(name)) + number(2, self.text(unit)))
        self.body += number(9, 1700000000 * 10**9)
        self.body += data(11, number(1, self.text("space")) + number(2, self.text("bytes")))
        self.body += number(12, rate)
        for comment in comments:
            self.body += number(13, self.text(comment))

    def mapping(self, number_, start, limit, offset, name):
        self.body += data(3, number(1, number_) + number(2, start) + number(3, limit) +
                          number(4, offset) + number(5, self.text(name)))

    def function(self, id_, name):
        self.body += data(5, number(1, id_) + number(2, self.text(name)) + number(3, self.text(name)))

    def location(self, id_, address, lines, mapping=1):
        body = number(1, id_) + number(2, mapping) + number(3, address)
        for function in lines:
            body += data(4, number(1, function))
        self.body += data(4, body)

    def sample(self, locations, values, size, packed=True):
        if packed:
            body = data(1, b"".join(map(varint, locations))) + data(2, b"".join(map(varint, values)))
        else:
            body = b"".join(number(1, x) for x in locations) + b"".join(number(2, v) for v in values)
        if size:
            body += data(3, number(1, self.text("bytes")) + number(3, size))
        self.body += data(2, body)

    def drop(self, expression):
        self.body += number(7, self.text(expression))

    def encode(self):
        return self.body + b"".join(data(6, s) for s in self.strings)


def add_program(p, scale=1):
    p.mapping(1, 0x400000, 0x500000, 0x1000, "/nonexistent/bin/program")
    for i, name in enumerate(FUNCTIONS, 1):
        p.function(i * scale, name)
        p.location(i * scale, 0x400000 + 16 * i, [i * scale])


def known(comments=(), rate=RATE, scale=1):
    p = Profile()
    p.head(rate=rate, comments=comments)
    add_program(p, scale)
    p.drop(r"malloc|calloc|operator (new|delete)(\[\])?|(std::(__1::)?allocator)(<.*>)?::allocate")
    for i, (stack, allocated, used, size) in enumerate(SAMPLES):
        values = [allocated, allocated * size, used, used * size]
        p.sample([s * scale for s in stack], values, size, packed=i % 2 == 0)
    return p


def variance_of(samples):
    variance = 0
    for _, _, used, size in samples:
        q = math.exp(-size / RATE)
        variance += used * (1 - q) * size**2 * q / (1 - q)**2
    return variance


def solve(function, low, high):
    """Where a function that rises from low to high is 0."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return low


def print_expected():
    total = TOTAL
    count = sum(used * -math.expm1(-size / RATE) for _, _, used, size in SAMPLES)
    variance = variance_of(SAMPLES)
    # A true total t is at the end of the interval if the estimate is 1.96 of its own standard errors from it.
    low = solve(lambda t: (t - total) + 1.959964 * math.sqrt(variance * t / total), 0, total)
    high = solve(lambda t: (t - total) - 1.959964 * math.sqrt(variance * t / total), total, 100 * total)
    leaf = variance_of(sample for sample in SAMPLES if sample[0][1] == LEAF)
    recurse = variance_of(sample for sample in SAMPLES if sample[0][1] == RECURSE)
    print(f"{total} {math.sqrt(variance):.0f} {count:.0f} {low:.0f} {high:.0f} {math.sqrt(leaf):.0f} "
          f"{math.sqrt(recurse):.0f}")


def exact_comments(dropped):
    return ["halloc: version=0.1.0 pid=1",
            f"halloc: exact HeapAlloc={TOTAL + MB} TotalAlloc=77 HeapObjects=2158 Mallocs=9",
            f"halloc: dropped={dropped}"]


def summed_comments(total, error):
    """What the library sums up itself, for a history of rates that the rows do not tell."""
    return ["halloc: version=0.1.0 pid=1 rate=524288",
            f"halloc: sampled inuse_space={total} inuse_space_se={error} inuse_samples=321 alloc_samples=999"]


def rss():
    p = Profile()
    p.head(types=[("rss_space", "bytes")],
           comments=["halloc: rss VmRSS=5000000 total=4900000 live=3000000 not_resident=1048576 idle=1900000"])
    add_program(p)
    p.function(20, "[idle]")
    p.location(20, 4, [20], mapping=0)
    p.sample([MALLOC, LEAF, MAIN], [3000000], 4096)
    p.sample([20], [1900000], 0)
    return p


def inlined():
    """Lines that one location has for inlined calls, one of them dropped, and a dropped frame at the root."""
    p = Profile()
    p.head()
    add_program(p)
    p.location(20, 0x400200, [MALLOC, LEAF, WORK])
    p.location(21, 0x400210, [LEAF, WORK])
    p.drop("malloc|calloc")
    p.sample([20, MAIN], [1, 1000, 1, 1000], 1000)
    p.sample([MALLOC, 21, MAIN], [1, 2000, 1, 2000], 2000)
    p.sample([LEAF, MALLOC], [1, 4000, 1, 4000], 4000)
    p.sample([MALLOC], [1, 8000, 1, 8000], 8000)
    return p


def addresses():
    p = Profile()
    p.head()
    p.mapping(1, 0x400000, 0x500000, 0x1000, "/nonexistent/bin/program")
    p.location(1, 0x400020, [])
    p.location(2, 0x7fff0000, [], mapping=0)
    p.sample([1, 2], [1, 100, 1, 100], 100)
    return p


def hostile_names():
    p = Profile()
    p.head()
    p.mapping(1, 0x400000, 0x500000, 0, "/x/\x1b[31m\n")
    p.function(1, 'quote" back\\ \x1b[2J\n')
    p.location(1, 0x400020, [1])
    p.sample([1], [1, 100, 1, 100], 100)
    raw = p.encode()
    return raw.replace(b"back", b"b\xff\xfek")


def broken(what):
    p = Profile()
    if what != "no_types":
        p.head()
    add_program(p)
    values = [1, 1, 1, 1]
    if what == "location":
        p.sample([99], values, 0)
    elif what == "zero_location":
        p.sample([0], values, 0)
    elif what == "values":
        p.sample([1], values[:3], 0)
    elif what == "string":
        p.body += data(5, number(1, 77) + number(2, 1 << 40))
    elif what == "negative_string":
        p.body += number(14, -1)
    elif what == "function":
        p.location(30, 0x400300, [88])
    elif what == "mapping":
        p.location(30, 0x400300, [1], mapping=5)
    elif what == "doubled":
        p.location(1, 0x400300, [1])
    elif what == "first_string":
        p.strings[0] = "x"
    return p


def expression(text):
    p = Profile()
    p.head()
    add_program(p)
    p.drop(text)
    p.sample([LEAF, MAIN], [1, 100, 1, 100], 100)
    return p


def extreme():
    """Values at the ends of their range: sums wrap, nothing traps."""
    p = Profile()
    p.head(rate=-1)
    add_program(p)
    for v in (-1 << 63, (1 << 63) - 1, -1 << 63):
        p.sample([LEAF, MAIN], [v] * 4, v)
    return p


def many_frames():
    p = Profile()
    p.head()
    add_program(p)
    p.location(20, 0x400200, [LEAF] * 100000)
    p.sample([20] * 100000, [1, 1, 1, 1], 1)
    return p


KINDS = {
    "known": known,
    "sparse_ids": lambda: known(scale=1000),
    "exact": lambda: known(exact_comments(0)),
    "dropped": lambda: known(exact_comments(12)),
    "rate1": lambda: known(exact_comments(0), rate=1),
    "summed": lambda: known(summed_comments(TOTAL, 7000000)),
    "of_others": lambda: known(summed_comments(TOTAL + 7000001, 7000000)),
    "rss": rss,
    "inlined": inlined,
    "addresses": addresses,
    "hostile_names": hostile_names,
    "extreme": extreme,
    "many_frames": many_frames,
    "repeats": lambda: expression("(((a+)+)+)" + "+" * 60),
    "nested": lambda: expression("(" * 5000 + ")" * 5000),
    "counted": lambda: expression("((a{1,255}){1,255}){1,255}"),
    "default_type": lambda: default_type(),
}


def default_type():
    p = known()
    p.body += number(14, p.text("alloc_objects"))
    return p


def main():
    kind, path = sys.argv[1:]
    made = broken(kind[7:]) if kind.startswith("broken_") else KINDS[kind]()
    raw = made if isinstance(made, bytes) else made.encode()
    with open(path, "wb") as f:
        f.write(gzip.compress(raw) if path.endswith(".gz") else raw)
    if kind == "known":
        print_expected()


main()
