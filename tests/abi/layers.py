#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Holds the code to the table of layers in docs/architecture.md.

What could break a user here: a profiler that calls the malloc it watches (a deadlock in the making), and
releases that take ever longer because everything depends on everything.

usage: layers.py SOURCE_ROOT BUILD_ROOT
"""
import os
import re
import subprocess
import sys

ROOT, BUILD = sys.argv[1:3]
LIBRARIES = ["base", "labels", "sampler", "alloc", "proto", "page", "serve"]
# Headers of other projects and the files that may include them.
FOREIGN = {
    "mimalloc.h": {"alloc/backing.c", "proto/scratch.c", "bench/wrapper.c"},
    "zlib.h": {"proto/gzip.c", "tools/profile_load.c"},
    "unwind.h": {"sampler/unwind.c"},
    "libunwind.h": None,  # one file, wherever
    "protobuf-c/protobuf-c.h": None,
}
failed = False


def check(name, problems):
    global failed
    failed |= bool(problems)
    print(f"FAIL {name}: {'; '.join(problems)}" if problems else f"ok {name}", flush=True)


def read_table():
    """{folder: set of folders it may include}, from the rows under the heading Layers."""
    try:
        with open(f"{ROOT}/docs/architecture.md") as file:
            text = file.read()
    except FileNotFoundError:
        print("skip layers: no docs/architecture.md")
        sys.exit(77)
    section = re.search(r"^## Layers$(.*?)(?=^## |\Z)", text, re.M | re.S)
    rows = re.findall(r"^\| *(\w+) *\| *([\w -]+?) *\|$", section.group(1) if section else "", re.M)
    table = {folder: set(allowed.replace("-", "").split()) for folder, allowed in rows if folder != "folder"}
    check("the_table_of_layers_is_there", [] if len(table) >= len(LIBRARIES) else [f"only {len(table)} rows"])
    return table


def sources(folders):
    for folder in folders:
        for name in sorted(os.listdir(f"{ROOT}/{folder}")):
            if name.endswith((".c", ".h", ".cc")):
                yield folder, f"{folder}/{name}"


def includes(path):
    with open(f"{ROOT}/{path}") as file:
        return re.findall(r'^\s*#\s*include\s+(["<])([^">]+)[">]', file.read(), re.M)


def check_includes(table):
    problems, by_folder = [], os.listdir(ROOT)
    for folder, path in sources(LIBRARIES + ["tools"]):
        for bracket, header in includes(path):
            target = "include" if header == "halloc.h" else header.split("/")[0]
            if bracket == "<" and header != "halloc.h":
                continue
            if "/" not in header and header != "halloc.h":
                problems.append(f"{path} includes {header} without its folder")
            elif target in by_folder and target != folder and target not in table.get(folder, set()):
                problems.append(f"{path} includes {header}")
    check("every_include_is_allowed_by_the_table", problems)


def check_cycles(table):
    problems = []
    for folder in table:
        seen, open_ = set(), [folder]
        while open_:
            for next_ in table.get(open_.pop(), set()) - seen:
                seen.add(next_)
                open_.append(next_)
        if folder in seen:
            problems.append(f"{folder} may include itself in a circle")
    check("the_table_has_no_circles", problems)


def check_foreign():
    users = {header: set() for header in FOREIGN}
    for _, path in sources(LIBRARIES + ["tools", "bench", "examples"]):
        for _, header in includes(path):
            if header in users:
                users[header].add(path)
    problems = []
    for header, allowed in FOREIGN.items():
        if allowed is None:
            inside = users[header] - {path for path in users[header] if path.startswith(("tools/", "bench/"))}
            if len(inside) > 1:
                problems.append(f"{header} is included by {', '.join(sorted(inside))}")
        elif users[header] - allowed:
            problems.append(f"{header} is included by {', '.join(sorted(users[header] - allowed))}")
    check("each_foreign_header_has_one_user", problems)


def symbols(folder, option):
    archive = f"{BUILD}/{folder}/libha_{folder}.a"
    output = subprocess.run(["nm", option, archive], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1] for line in output.splitlines() if line and not line.endswith(":")}
    return {name for name in names if re.match(r"h[ap]_", name)}


def reachable(table, folder):
    found, open_ = {folder}, [folder]
    while open_:
        for next_ in table.get(open_.pop(), set()) - found:
            found.add(next_)
            open_.append(next_)
    return found & set(LIBRARIES)


def check_links(table):
    """As a link of each library with those below it would, but with the names of all that is wrong."""
    problems = []
    for folder in LIBRARIES:
        defined = set().union(*(symbols(below, "--defined-only") for below in reachable(table, folder)))
        for name in sorted(symbols(folder, "--undefined-only") - defined):
            problems.append(f"{folder} refers to {name}")
    check("each_library_links_with_those_below_it", problems)


TABLE = read_table()
check_includes(TABLE)
check_cycles(TABLE)
check_foreign()
check_links(TABLE)
sys.exit(failed)
