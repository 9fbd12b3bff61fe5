# SPDX-License-Identifier: MIT
"""Shared by the drivers of this folder: running programs under halloc and reading the stacks of a profile.

A driver is called as `driver LIBHALLOC [argument...]`; its cases print `ok NAME` or `FAIL NAME: reason`.
"""
import collections
import gzip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "programs")
TIMEOUT_S = 60

Frame = collections.namedtuple("Frame", "module offset name")
Stack = collections.namedtuple("Stack", "frames objects size")


class Failed(Exception):
    pass


def check(condition, *reason):
    if not condition:
        raise Failed(" ".join(map(str, reason)))


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """number -> list of values (int or bytes) of one protobuf message."""
    found, at = collections.defaultdict(list), 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            check(key & 7 == 2, "wire type", key & 7)
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        found[key >> 3].append(value)
    return found


def numbers(values):
    """A repeated integer, packed or not."""
    result = []
    for value in values:
        if isinstance(value, int):
            result.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            result.append(one)
    return result


def read_stacks(path):
    """The samples of a profile as Stacks: innermost frame first, places as module and offset in its file."""
    with gzip.open(path) as file:
        profile = fields(file.read())
    text = [value.decode() for value in profile[6]]
    mappings, functions, places = {}, {}, {}
    for data in profile[3]:
        row = fields(data)
        start, offset = row[2][0], (row[4] or [0])[0]
        mappings[row[1][0]] = (os.path.basename(text[row[5][0]]), start - offset)
    for data in profile[5]:
        row = fields(data)
        functions[row[1][0]] = text[row[2][0]]
    for data in profile[4]:
        row = fields(data)
        module, base = mappings.get((row[2] or [0])[0], ("", 0))
        name = functions[fields(row[4][0])[1][0]] if row[4] else ""
        places[row[1][0]] = Frame(module, row[3][0] - base, name)
    stacks = []
    for data in profile[2]:
        row = fields(data)
        labels = [fields(label) for label in row[3]]
        size = [label[3][0] for label in labels if label[3] and text[label[1][0]] == "bytes"]
        frames = tuple(places[number] for number in numbers(row[1]))
        stacks.append(Stack(frames, numbers(row[2])[0], size[0] if size else 0))
    return stacks


def show(frames):
    return " < ".join(frame.name or f"{frame.module}+{frame.offset:#x}" for frame in frames)


class Driver:
    def __init__(self):
        if len(sys.argv) < 2:
            sys.exit(f"usage: {sys.argv[0]} LIBHALLOC [argument...]")
        self.library, self.arguments = os.path.abspath(sys.argv[1]), sys.argv[2:]
        self.work = tempfile.mkdtemp(prefix="halloc-walker.")
        self.failed = False
        for name in list(os.environ):
            if name.startswith(("HALLOC_", "LD_")):
                del os.environ[name]

    def path(self, name):
        return os.path.join(self.work, name)

    def compile(self, name, compiler, *arguments):
        out = self.path(name)
        run = subprocess.run([compiler, "-o", out, "-I", PROGRAMS, *arguments], stderr=subprocess.PIPE,
                             stdout=subprocess.PIPE, cwd=PROGRAMS, timeout=TIMEOUT_S, check=False)
        check(run.returncode == 0, compiler, "fails:", run.stderr.decode(errors="replace")[:400])
        return out

    def run(self, command, mode="auto", rate=1, profile=None, timeout=TIMEOUT_S, preload=True, **more):
        """Runs it under halloc, for at most `timeout` seconds. Returns what it wrote to stdout and stderr."""
        env = dict(os.environ)
        if preload:
            env.update(LD_PRELOAD=self.library, HALLOC_UNWIND=mode, HALLOC_MEMPROFILERATE=str(rate))
        if profile:
            env["HALLOC_MEMPROFILE"] = profile
        env.update(more)
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            name = os.path.basename(command[0])
            raise Failed(f"{name} in mode {mode}: no end within {timeout} s") from None
        check(process.returncode == 0, os.path.basename(command[0]), "in mode", mode, "at rate", rate,
              "ends with", process.returncode, err.decode(errors="replace")[-300:],
              out.decode(errors="replace")[-300:])
        check(b"ERROR: ld.so" not in err and b"halloc:" not in err, "stderr:",
              err.decode(errors="replace")[:300])
        return out.decode(errors="replace"), err.decode(errors="replace")

    def case(self, name, function, *arguments):
        try:
            function(*arguments)
            print("ok", name, flush=True)
        except Failed as reason:
            print(f"FAIL {name}: {reason}", flush=True)
            self.failed = True
        except Exception:  # a broken profile or program: one line, and the next case
            print(f"FAIL {name}: {traceback.format_exc().splitlines()[-1]}", flush=True)
            self.failed = True

    def finish(self):
        shutil.rmtree(self.work, ignore_errors=True)
        sys.exit(1 if self.failed else 0)
