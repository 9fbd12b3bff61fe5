#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Reads heap profiles strictly, with no library but Python's own, and prints their totals as JSON.

usage: read_profile.py [--names] [--rate N] FILE...

Go's pprof forgives much; other consumers index tables by id and trust the mappings. Here every rule of the format
that a consumer may rely on is checked, by a reader that shares no code with the writer. With --names each name is
also looked up in the symbol tables of the file it is said to come from (as readelf prints them).
One JSON object per file; the first broken rule of a file goes to stderr, and the exit status is 1.
"""
import bisect
import functools
import json
import math
import os
import re
import subprocess
import sys
import zlib

PAGE = 4096
TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")]
SIZE_SPREAD = 0.13  # blocks of one size class differ by at most an eighth above the medium sizes
OWN_CODE = re.compile(r"lib(halloc|mimalloc|protobuf-c)\b")
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Broken(Exception):
    pass


def check(condition, *reason):
    if not condition:
        raise Broken(" ".join(map(str, reason)))


# ---- the wire format ----


def read_varint(data, at):
    value = 0
    for i in range(10):
        check(at + i < len(data), "varint ends outside its message")
        value |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            check(value < 1 << 64, "varint above 64 bits")
            return value, at + i + 1
    raise Broken("varint of more than ten bytes")


def fields(data):
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, kind = key >> 3, key & 7
        check(number > 0, "field number 0")
        if kind == VARINT:
            value, at = read_varint(data, at)
        elif kind == BYTES:
            size, at = read_varint(data, at)
            check(at + size <= len(data), "field", number, "ends outside its message")
            value, at = data[at:at + size], at + size
        else:
            raise Broken(f"field {number} has wire type {kind}, which profile.proto does not use")
        yield number, kind, value


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def read_message(data, schema):
    """schema: number -> (name, kind); kinds: int, bool, text (index), ints (packed or not), message, messages."""
    message = {name: [] if kind in ("ints", "messages") else None if kind == "message" else 0
               for name, kind in schema.values()}
    for number, wire, value in fields(data):
        check(number in schema, "unknown field", number, "beside", sorted(name for name, _ in schema.values()))
        name, kind = schema[number]
        if kind == "ints" and wire == BYTES:
            at = 0
            while at < len(value):
                one, at = read_varint(value, at)
                message[name].append(signed(one))
        elif kind in ("message", "messages"):
            check(wire == BYTES, name, "is not a message")
            if kind == "message":
                message[name] = value
            else:
                message[name].append(value)
        else:
            check(wire == VARINT, name, "is not a number")
            check(kind != "bool" or value in (0, 1), name, "is not a boolean")
            if kind == "ints":
                message[name].append(signed(value))
            else:
                message[name] = signed(value)
    return message


PROFILE = {1: ("sample_type", "messages"), 2: ("sample", "messages"), 3: ("mapping", "messages"),
           4: ("location", "messages"), 5: ("function", "messages"), 6: ("string_table", "messages"),
           7: ("drop_frames", "text"), 8: ("keep_frames", "text"), 9: ("time_nanos", "int"),
           10: ("duration_nanos", "int"), 11: ("period_type", "message"), 12: ("period", "int"),
           13: ("comment", "ints"), 14: ("default_sample_type", "text")}
VALUE_TYPE = {1: ("type", "text"), 2: ("unit", "text")}
SAMPLE = {1: ("location_id", "ints"), 2: ("value", "ints"), 3: ("label", "messages")}
LABEL = {1: ("key", "text"), 2: ("str", "text"), 3: ("num", "int"), 4: ("num_unit", "text")}
MAPPING = {1: ("id", "int"), 2: ("memory_start", "int"), 3: ("memory_limit", "int"), 4: ("file_offset", "int"),
           5: ("filename", "text"), 6: ("build_id", "text"), 7: ("has_functions", "bool"),
           8: ("has_filenames", "bool"), 9: ("has_line_numbers", "bool"), 10: ("has_inline_frames", "bool")}
LOCATION = {1: ("id", "int"), 2: ("mapping_id", "int"), 3: ("address", "int"), 4: ("line", "messages"),
            5: ("is_folded", "bool")}
LINE = {1: ("function_id", "int"), 2: ("line", "int")}
FUNCTION = {1: ("id", "int"), 2: ("name", "text"), 3: ("system_name", "text"), 4: ("filename", "text"),
            5: ("start_line", "int")}


def unzip(path):
    with open(path, "rb") as file:
        packed = file.read()
    reader = zlib.decompressobj(wbits=31)
    try:
        data = reader.decompress(packed)
    except zlib.error as error:
        raise Broken(f"not gzip: {error}") from None
    check(reader.eof, "the gzip stream is cut off")
    check(not reader.unused_data, "bytes behind the gzip stream")
    return data


# ---- the files that were mapped, as readelf sees them ----


@functools.lru_cache(maxsize=None)
def readelf(option, path):
    run = subprocess.run(["readelf", "-W", option, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return run.stdout.decode(errors="replace")


@functools.lru_cache(maxsize=None)
def build_id_of(path):
    found = re.search(r"Build ID: ([0-9a-f]+)", readelf("-n", path))
    return found.group(1) if found else ""


@functools.lru_cache(maxsize=None)
def segments_of(path):
    """(file offset, size in file, address) of each LOAD segment."""
    rows = re.findall(r"^\s*LOAD\s+(\w+) (\w+) \w+ (\w+)", readelf("-l", path), re.M)
    return [(int(offset, 16), int(size, 16), int(address, 16)) for offset, address, size in rows]


@functools.lru_cache(maxsize=None)
def symbols_of(path):
    """(address, size, name), sorted, of the file and of its separate debug file if that is installed."""
    identity = build_id_of(path)
    debug_file = f"/usr/lib/debug/.build-id/{identity[:2]}/{identity[2:]}.debug"
    tables = readelf("-s", path) + (readelf("-s", debug_file) if os.path.exists(debug_file) else "")
    rows = re.findall(r"^\s*\d+: ([0-9a-f]+)\s+(\w+) (?:FUNC|IFUNC|NOTYPE)\s+\w+\s+\w+\s+(?!UND)\w+ ([^@\s]+)",
                      tables, re.M)
    return sorted({(int(address, 16), int(size, 0), name) for address, size, name in rows})


def names_at(path, offset):
    """Names of the symbols that cover the byte of the file."""
    for start, size, address in segments_of(path):
        if start <= offset < start + size:
            wanted = offset - start + address
            symbols = symbols_of(path)
            at = bisect.bisect_right(symbols, (wanted, math.inf, ""))
            # Symbols may nest and share addresses; a bounded look back finds every one that matters.
            return {name for low, length, name in symbols[max(0, at - 64):at] if low <= wanted < low + max(length, 1)}
    return set()


# ---- the rules ----


class Profile:
    def __init__(self, path):
        raw = read_message(unzip(path), PROFILE)
        self.raw = raw
        try:
            self.strings = [text.decode("utf-8", "strict") for text in raw["string_table"]]
        except UnicodeDecodeError as error:
            raise Broken(f"a string is not UTF-8: {error}") from None
        check(self.strings and self.strings[0] == "", "string_table[0] is not the empty string")
        self.types = [self.value_type(data) for data in raw["sample_type"]]
        self.mappings = self.table("mapping", MAPPING)
        self.functions = self.table("function", FUNCTION)
        self.locations = self.table("location", LOCATION)
        self.samples = [read_message(data, SAMPLE) for data in raw["sample"]]
        self.comments = [self.text(index) for index in raw["comment"]]

    def text(self, index):
        check(0 <= index < len(self.strings), "string", index, "of", len(self.strings))
        return self.strings[index]

    def value_type(self, data):
        message = read_message(data, VALUE_TYPE)
        return self.text(message["type"]), self.text(message["unit"])

    def table(self, name, schema):
        rows = [read_message(data, schema) for data in self.raw[name]]
        for i, row in enumerate(rows, 1):
            check(row["id"] == i, name, "number", i, "has id", row["id"])
        return rows

    def exact(self):
        """The numbers of the comment lines, as key=value."""
        return {key: int(value) for line in self.comments for key, value in re.findall(r"(\w+)=(\d+)(?!\.)", line)}

    def validate(self):
        check(self.types == TYPES, "sample types", self.types)
        check(self.raw["period_type"] is not None, "no period type")
        check(self.value_type(self.raw["period_type"]) == ("space", "bytes"), "period type is not space/bytes")
        check(self.raw["period"] > 0, "period", self.raw["period"])
        check(self.exact().get("rate") == self.raw["period"], "period and the rate of the comments differ")
        check(self.raw["time_nanos"] > 0, "no time")
        for field in ("drop_frames", "keep_frames", "default_sample_type"):
            self.text(self.raw[field])
        for mapping in self.mappings:
            self.validate_mapping(mapping)
        ranges = sorted((m["memory_start"], m["memory_limit"]) for m in self.mappings)
        for before, after in zip(ranges, ranges[1:]):
            check(before[1] <= after[0], "mappings overlap at", hex(after[0]))
        for function in self.functions:
            check(self.text(function["name"]) != "", "function", function["id"], "has no name")
            self.text(function["system_name"])
            self.text(function["filename"])
        used_functions = set()
        for location in self.locations:
            self.validate_location(location, used_functions)
        check(len(used_functions) == len(self.functions), "functions that no location has")
        used_locations = set()
        for sample in self.samples:
            self.validate_sample(sample)
            used_locations.update(sample["location_id"])
        self.validate_sites()
        check(len(used_locations) == len(self.locations), "locations that no sample has")

    def validate_mapping(self, mapping):
        name = self.text(mapping["filename"])
        start, limit, offset = mapping["memory_start"], mapping["memory_limit"], mapping["file_offset"]
        check(0 < start < limit, name, "is mapped at", hex(start), "to", hex(limit))
        check(start % PAGE == limit % PAGE == offset % PAGE == 0, name, "is not page aligned")
        for flag in ("has_functions", "has_filenames", "has_line_numbers", "has_inline_frames"):
            check(mapping[flag] == 0, name, "says", flag)
        check(name != "", "mapping", mapping["id"], "has no file name")
        if os.path.isfile(name):
            check(self.text(mapping["build_id"]) == build_id_of(name), name, "has build id",
                  repr(self.text(mapping["build_id"])), "and readelf says", repr(build_id_of(name)))

    def validate_location(self, location, used_functions):
        at = hex(location["address"])
        check(location["address"] > 0, "location", location["id"], "has no address")
        check(0 <= location["mapping_id"] <= len(self.mappings), at, "is of mapping", location["mapping_id"])
        check(location["is_folded"] == 0, at, "is folded")
        if location["mapping_id"] != 0:
            mapping = self.mappings[location["mapping_id"] - 1]
            check(mapping["memory_start"] <= location["address"] < mapping["memory_limit"], at, "is outside its mapping")
        for data in location["line"]:
            line = read_message(data, LINE)
            check(1 <= line["function_id"] <= len(self.functions), at, "is in function", line["function_id"])
            used_functions.add(line["function_id"])

    @staticmethod
    def label(data):
        return read_message(data, LABEL)

    def validate_sites(self):
        """What is in use is in rows of its own; taken together, a site has not more of it than was allocated."""
        sites = {}
        for sample in self.samples:
            texts = sorted((label["key"], label["str"]) for label in map(self.label, sample["label"]) if label["str"])
            values = sites.setdefault((tuple(sample["location_id"]), tuple(texts)), [0] * len(TYPES))
            values[:] = [a + b for a, b in zip(values, sample["value"])]
        for values in sites.values():
            check(values[2] <= values[0] and values[3] <= values[1], "more in use than allocated:", values)

    def block_size(self, sample):
        labels = [self.label(data) for data in sample["label"]]
        sizes = [label for label in labels if self.text(label["key"]) == "bytes"]
        check(len(sizes) == 1, "a sample with", len(sizes), "labels of its size")
        check(sizes[0]["str"] == 0 and self.text(sizes[0]["num_unit"]) == "bytes", "the size is no number of bytes")
        check(sizes[0]["num"] > 0, "a sample of size", sizes[0]["num"])
        return sizes[0]["num"]

    def validate_sample(self, sample):
        values = sample["value"]
        check(len(values) == len(TYPES), "a sample of", len(values), "values")
        check(any(values), "a sample of zeros")
        check(min(values) >= 0, "a sample with", values)
        numbers = {self.text(label["key"]): label["num"] for label in map(self.label, sample["label"]) if not label["str"]}
        check(numbers.keys() <= {"age", "bytes", "request"}, "numbers", numbers)
        # Readers that take differences match rows by all their labels, so those of allocations must not change.
        check(not any(values[:2]) or numbers.keys() == {"bytes"}, "allocations with", numbers)
        check(numbers.get("request", 0) <= numbers["bytes"], "more asked for than there is", numbers)
        for location in sample["location_id"]:
            check(1 <= location <= len(self.locations), "a sample at location", location)
        check(sample["location_id"] or self.exact().get("overflow", 0) > 0, "a sample without a stack")
        size = self.block_size(sample)
        for objects, space in (values[:2], values[2:]):
            check(abs(space - objects * size) <= SIZE_SPREAD * space + size + objects, objects, "objects of", size,
                  "are not", space, "bytes")

    def validate_names(self):
        """Names come from the mapped file and cover the address."""
        for location in self.locations:
            if location["mapping_id"] == 0 or not location["line"]:
                continue
            mapping = self.mappings[location["mapping_id"] - 1]
            path = self.text(mapping["filename"])
            if not os.path.isfile(path):
                continue
            name = self.text(self.functions[read_message(location["line"][0], LINE)["function_id"] - 1]["name"])
            covering = names_at(path, location["address"] - mapping["memory_start"] + mapping["file_offset"])
            check(name in covering, hex(location["address"]), "of", path, "is called", name, "and readelf has",
                  sorted(covering))

    def validate_origin(self):
        """The library's own frames are no part of anyone's stack."""
        for location in self.locations:
            if location["mapping_id"] != 0:
                name = self.text(self.mappings[location["mapping_id"] - 1]["filename"])
                check(not OWN_CODE.search(name), hex(location["address"]), "is a frame of", name)

    def totals(self):
        rate, variance, sums = self.raw["period"], 0.0, [0] * len(TYPES)
        for sample in self.samples:
            sums = [a + b for a, b in zip(sums, sample["value"])]
            if rate > 1:
                size, objects = self.block_size(sample), sample["value"][2]
                p = -math.expm1(-size / rate)
                variance += objects * p * size**2 * (1 - p) / p**2
        result = {name: value for (name, _), value in zip(TYPES, sums)}
        exact = self.exact()
        result.update(pid=exact.get("pid"), rate=rate, samples=len(self.samples), locations=len(self.locations),
                      functions=len(self.functions), exact_inuse_space=exact.get("HeapAlloc"),
                      standard_error=round(math.sqrt(variance)),
                      main=self.text(self.mappings[0]["filename"]) if self.mappings else "")
        return result


def main():
    arguments = sys.argv[1:]
    check_names = "--names" in arguments
    rate = None
    if "--rate" in arguments:
        at = arguments.index("--rate")
        rate = int(arguments[at + 1])
        del arguments[at:at + 2]
    paths = [argument for argument in arguments if not argument.startswith("--")]
    if not paths:
        sys.exit(__doc__)
    status = 0
    for path in paths:
        try:
            profile = Profile(path)
            profile.validate()
            check(rate in (None, profile.raw["period"]), "period", profile.raw["period"], "instead of", rate)
            if check_names:
                profile.validate_names()
            profile.validate_origin()
            print(json.dumps({"file": path, **profile.totals()}))
        except (Broken, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 1
    sys.exit(status)


main()
