#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the examples of the documentation.

usage: run_examples.py ROOT BUILD

In README.md, CONTRIBUTING.md and docs/*.md, a line `<!-- run -->` marks the sh block below it, which must succeed in
an empty directory with $ROOT set; `<!-- compile -->` marks a C block, which must compile without warnings and link.
The C programs in the EXAMPLES of docs/man/*.3 are always compiled. A mark without its block is a failure too.

BUILD is a finished build of ROOT. The blocks say $ROOT/build; if BUILD is another directory, $ROOT is one with the
same content but for build. Prints `ok PLACE` or `FAIL PLACE: reason` for each; exit 1 when any failed, or none found.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT_S = 60
LANGUAGE = {"run": "sh", "compile": "c"}
MARK = re.compile(r"<!-- (run|compile) -->")
FENCE = re.compile(r"```(\w*)")


def blocks_of_markdown(path):
    """Yields (line, kind, text); text is None if no block of the right language follows the mark."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        mark = MARK.fullmatch(line)
        if not mark:
            continue
        kind = mark.group(1)
        fence = FENCE.fullmatch(lines[number + 1]) if number + 1 < len(lines) else None
        rest = lines[number + 2 :]
        if not fence or fence.group(1) != LANGUAGE[kind] or "```" not in rest:
            yield number + 1, kind, None
            continue
        yield number + 2, kind, "\n".join(rest[: rest.index("```")]) + "\n"


def blocks_of_manual(path):
    """Yields the literal displays that are whole C programs."""
    inside, text = 0, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith(".Bd -literal"):
            inside, text = number, []
        elif line == ".Ed":
            if any(row.startswith("int main(") for row in text):
                yield inside, "compile", "\n".join(text) + "\n"
            inside = 0
        elif inside:
            text.append(line.removeprefix(r"\&").replace(r"\e", "\\"))


def examples(root):
    for path in [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]:
        if path.exists():
            yield from ((path, *block) for block in blocks_of_markdown(path))
    for path in sorted((root / "docs/man").glob("*.3")):
        yield from ((path, *block) for block in blocks_of_manual(path))


def run(command, directory, environment):
    """None, or why it failed."""
    try:
        done = subprocess.run(command, cwd=directory, env=environment, timeout=LIMIT_S, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        return f"took more than {LIMIT_S} s"
    if done.returncode == 0:
        return None
    return f"exit status {done.returncode}\n{done.stdout}".rstrip()


def check(kind, text, root, build, environment):
    if text is None:
        return f"no {LANGUAGE[kind]} block below the mark"
    with tempfile.TemporaryDirectory() as directory:
        if kind == "run":
            return run(["bash", "-euo", "pipefail", "-c", text], directory, environment)
        source = Path(directory, "example.c")
        source.write_text(text)
        compiler = os.environ.get("CC", "cc").split()
        return run([*compiler, "-Wall", "-Wextra", "-Werror", f"-I{root}/include", str(source), "-o", "example",
                    f"-L{build}", "-lhalloc"], directory, environment)


def root_with_build(root, build, directory):
    """A directory that looks like root and whose build is build."""
    for entry in root.iterdir():
        if entry.name != "build":
            Path(directory, entry.name).symlink_to(entry)
    Path(directory, "build").symlink_to(build)
    return Path(directory)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root, build = (Path(argument).resolve() for argument in sys.argv[1:])
    count = failures = 0
    with tempfile.TemporaryDirectory() as directory:
        seen_root = root if (root / "build").resolve() == build else root_with_build(root, build, directory)
        environment = {name: value for name, value in os.environ.items()
                       if name != "LD_PRELOAD" and not name.startswith("HALLOC_")}
        environment["ROOT"] = str(seen_root)
        for path, line, kind, text in examples(root):
            place = f"{path.relative_to(root)}:{line}"
            problem = check(kind, text, root, build, environment)
            print(f"ok {place}" if problem is None else f"FAIL {place}: {problem}", flush=True)
            count += 1
            failures += problem is not None
    if count == 0:
        print("FAIL: no example found")
    return 1 if failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
