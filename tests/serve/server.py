# SPDX-License-Identifier: MIT
"""Shared by the drivers of this folder: programs with an admin port, and raw HTTP.

A driver is called as `driver PROGRAM LIBHALLOC [argument...]`; its cases print `ok NAME` or `FAIL NAME: reason`.
"""
import gzip
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM, LIBRARY = map(os.path.realpath, sys.argv[1:3])
TIMEOUT_S = 30
WORK = tempfile.mkdtemp(prefix="halloc-serve.")
cases = []
programs = []


class Failed(Exception):
    pass


class Skipped(Exception):
    """What the machine lacks; never the package of a tool."""


def check(condition, *reason):
    if not condition:
        raise Failed(" ".join(map(str, reason)))


def check_equal(actual, expected, what="it"):
    check(actual == expected, what, "is", repr(actual) + ", not", repr(expected))


def case(function):
    cases.append(function)
    return function


def wait_until(condition, what, seconds=TIMEOUT_S):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, "it never came that", what)
        time.sleep(0.005)


class Answer:
    def __init__(self, data, method="GET"):
        head, separator, self.body = data.partition(b"\r\n\r\n")
        check(separator, "no answer:", data[:200])
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.reason = lines[0].split(" ", 2)[2]
        self.fields = dict(line.split(": ", 1) for line in lines[1:])
        check_equal(len(self.fields), len(lines) - 1, "the number of different fields")
        if method != "HEAD" and "Content-Length" in self.fields:
            check_equal(len(self.body), int(self.fields["Content-Length"]), "the size of the body")

    @property
    def text(self):
        is_gzip = self.fields.get("Content-Encoding") == "gzip"
        return (gzip.decompress(self.body) if is_gzip else self.body).decode()


def receive_all(connection):
    data = b""
    while True:
        part = connection.recv(1 << 20)
        if not part:
            return data
        data += part


class Program:
    """The program of program.c, or another one of which only the port matters."""

    def __init__(self, address=":0", settings=(), command=None, serve_by_environment=False, stderr=None):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("HALLOC_", "LD_PRELOAD", "MALLOC_"))}
        environment["LD_LIBRARY_PATH"] = os.path.dirname(LIBRARY)
        environment.update(settings)
        arguments = [] if address is None or serve_by_environment else [address]
        if serve_by_environment:
            environment["HALLOC_HTTP"] = address
        self.error_path = os.path.join(WORK, f"stderr.{len(programs)}")
        with open(self.error_path, "wb") as errors:
            self.process = subprocess.Popen(command or [PROGRAM, *arguments], env=environment, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors)
        programs.append(self)
        self.address = None
        if command is None:
            self.address = self.read_reply()[0]

    @property
    def pid(self):
        return self.process.pid

    @property
    def errors(self):
        with open(self.error_path) as file:
            return file.read()

    def read_reply(self):
        lines = []
        while True:
            line = self.process.stdout.readline().decode("latin-1")
            check(line, "the program ended:", self.errors[-500:])
            if line == ".\n":
                return lines
            lines.append(line.rstrip("\n"))

    def tell(self, line):
        """Lines of the answer."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.read_reply()

    def send_line(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def stats(self):
        names = ("Mallocs", "Frees", "HeapAlloc", "HeapReleased", "RSS")
        return dict(zip(names, map(int, self.tell("stats")[0].split())))

    def connect(self):
        if self.address.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT_S)
            connection.connect(self.address[5:])
            return connection
        host, port = self.address.rsplit(":", 1)
        return socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S)

    def exchange(self, data):
        """Sends bytes, returns all that comes until the end."""
        with self.connect() as connection:
            connection.sendall(data)
            return receive_all(connection)

    def ask(self, target, method="GET", fields=(), body=b"", host=None):
        host = host if host is not None else "localhost" if self.address.startswith("unix:") else self.address
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in dict(fields).items())
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        return Answer(self.exchange(head.encode("latin-1") + b"\r\n" + body), method)

    def url(self, target):
        return f"http://{self.address}{target}"

    def end(self):
        """Exit status."""
        self.process.stdin.close()
        try:
            status = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed("the program did not end") from None
        self.process.stdout.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self.process.returncode is None and not self.process.stdin.closed:
            check_equal(self.end(), 0, "the program's status")


def run(*command, settings=(), status=0, **options):
    """Runs a tool; its standard output."""
    environment = dict(os.environ, PPROF_TMPDIR=WORK, HOME=WORK, LC_ALL="C", TZ="UTC", **dict(settings))
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, **options)
    check(done.returncode == status, command[0], "exited with", done.returncode, done.stderr.decode()[-500:],
          done.stdout.decode("latin-1")[-300:])
    return done.stdout.decode("latin-1")


def main():
    failed = False
    wanted = sys.argv[3:]
    for function in cases:
        if wanted and function.__name__ not in wanted:
            continue
        try:
            note = function()
            print(f"ok {function.__name__}{': ' + note if note else ''}", flush=True)
        except Skipped as reason:
            print(f"skip {function.__name__}: {reason}", flush=True)
        except Failed as failure:
            failed = True
            print(f"FAIL {function.__name__}: {failure}", flush=True)
        except Exception:
            failed = True
            print(f"FAIL {function.__name__}: {traceback.format_exc()}", flush=True)
        for program in programs:
            if program.process.poll() is None:
                program.process.send_signal(signal.SIGKILL)
                program.process.wait()
        programs.clear()
    shutil.rmtree(WORK, ignore_errors=True)
    sys.exit(failed)
