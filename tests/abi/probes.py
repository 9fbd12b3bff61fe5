#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Reads the static probes of the library, and of programs that carry the archive, as a tracer does: from the file.

What could break a user here: a tracer that finds no probe after the program was linked with --gc-sections or stripped,
puts its breakpoint into the middle of an instruction, or raises a semaphore where it cannot write; a program that does
not link because another of its objects has probes too.

usage: probes.py LIBRARY ARCHIVE
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

LIBRARY, ARCHIVE = sys.argv[1:3]
LINK_LIBRARIES = ["-lmimalloc", "-lprotobuf-c", "-lz"]
EXPECTED = {("otel_memory", "alloc"): "8@%rdi 8@%rsi 8@%rdx", ("otel_memory", "free"): "8@%rdi"}
NOP = 0x90
SEMAPHORE_BYTES = 2
PT_LOAD, PT_GNU_RELRO = 1, 0x6474e552
EXECUTE, WRITE = 1, 2
PROGRAM = """
#include <stdlib.h>
int main(void) { void *volatile block = malloc(100); free(block); return 0; }
"""
# What the C library or another object with probes of its own brings along.
OTHER = """
void other(void) {
  __asm__ volatile(
    "990: nop\\n"
    ".pushsection .note.stapsdt, \\"\\", \\"note\\"\\n .balign 4\\n .4byte 8, 994f - 993f, 3\\n"
    ".asciz \\"stapsdt\\"\\n 993: .8byte 990b, _.stapsdt.base, 0\\n"
    ".asciz \\"other\\"\\n .asciz \\"thing\\"\\n .asciz \\"\\"\\n 994: .balign 4\\n .popsection\\n"
    ".pushsection .stapsdt.base, \\"aG\\", \\"progbits\\", .stapsdt.base, comdat\\n"
    ".weak _.stapsdt.base\\n .hidden _.stapsdt.base\\n _.stapsdt.base: .space 1\\n .popsection\\n");
}
"""
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


class Elf:
    """Sections and segments of a 64-bit little-endian file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        segments, sections = struct.unpack_from("<QQ", self.data, 0x20)
        segment_size, segment_count, section_size, section_count, names = struct.unpack_from("<5H", self.data, 0x36)
        self.segments = [struct.unpack_from("<IIQQQQQQ", self.data, segments + i * segment_size)
                         for i in range(segment_count)]
        rows = [struct.unpack_from("<IIQQQQIIQQ", self.data, sections + i * section_size) for i in range(section_count)]
        self.sections = {self.text(rows[names][4] + row[0]): row for row in rows}

    def text(self, at):
        return self.data[at:self.data.index(b"\0", at)].decode()

    def segment(self, address, size=1):
        """(flags, file offset of the address) of the loaded segment whose file content holds it, or None"""
        for kind, flags, offset, start, _, file_size, _, _ in self.segments:
            if kind == PT_LOAD and start <= address and address + size <= start + file_size:
                return flags, offset + address - start
        return None

    def is_made_read_only(self, address):
        return any(kind == PT_GNU_RELRO and start <= address < start + size
                   for kind, _, _, start, _, _, size, _ in self.segments)

    def probes(self):
        """[(provider, name, arguments, pc, base, semaphore)]"""
        found = []
        section = self.sections.get(".note.stapsdt")
        at, end = (section[4], section[4] + section[5]) if section else (0, 0)
        while at < end:
            name_size, size, kind = struct.unpack_from("<III", self.data, at)
            at += 12
            if self.data[at:at + name_size] == b"stapsdt\0" and kind == 3:
                addresses = at + 8
                pc, base, semaphore = struct.unpack_from("<QQQ", self.data, addresses)
                texts = self.data[addresses + 24:addresses + size].decode().split("\0")
                found.append((*texts[:3], pc, base, semaphore))
            at += (name_size + 3) // 4 * 4 + (size + 3) // 4 * 4
        return found


def probe_problem(elf, name, pc, base, semaphore):
    code = elf.segment(pc)
    if code is None or not code[0] & EXECUTE or elf.data[code[1]] != NOP:
        return f"{name}: no nop at {pc:#x}"
    if ".stapsdt.base" not in elf.sections or elf.sections[".stapsdt.base"][3] != base:
        return f"{name}: the base is {base:#x}, which is not where .stapsdt.base begins"
    counter = elf.segment(semaphore, SEMAPHORE_BYTES)
    if counter is None or not counter[0] & WRITE or elf.is_made_read_only(semaphore) or semaphore % SEMAPHORE_BYTES:
        return f"{name}: the semaphore at {semaphore:#x} cannot be written"
    if any(elf.data[counter[1]:counter[1] + SEMAPHORE_BYTES]):
        return f"{name}: the semaphore does not begin at 0"
    return ""


def check_probes(title, path):
    elf = Elf(path)
    ours = [probe for probe in elf.probes() if probe[0] == "otel_memory"]
    arguments = {(probe[0], probe[1]): probe[2] for probe in ours}
    check(f"{title}: one note for each probe, with its arguments",
          "" if arguments == EXPECTED and len(ours) == len(EXPECTED) else f"{ours}")
    problems = [probe_problem(elf, name, *addresses) for _, name, _, *addresses in ours]
    check(f"{title}: a nop, a base and a semaphore for each", "; ".join(filter(None, problems)))
    if len({probe[5] for probe in ours}) != len(ours):
        check(f"{title}: a semaphore of its own for each", "one for both")
    shown = subprocess.run(["readelf", "-nW", path], check=True, capture_output=True, text=True).stdout
    names = re.findall(r"Provider: otel_memory\s+Name: (\w+)\s+Location: (0x\w+),.*Semaphore: (0x\w+)", shown)
    expected = {(name, pc, semaphore) for _, name, _, pc, _, semaphore in ours}
    check(f"{title}: readelf reads the same",
          "" if {(n, int(pc, 16), int(s, 16)) for n, pc, s in names} == expected else shown[-500:])


def compile_object(work, name, source):
    path = f"{work}/{name}.c"
    with open(path, "w", encoding="utf-8") as file:
        file.write(source)
    subprocess.run(["cc", "-O2", "-fno-builtin", "-c", path, "-o", f"{work}/{name}.o"], check=True)
    return f"{work}/{name}.o"


def check_programs(work):
    program, other = (compile_object(work, name, source) for name, source in [("program", PROGRAM), ("other", OTHER)])
    for title, objects, flags in [
            ("archive", [program], []),
            ("archive, --gc-sections", [program], ["-Wl,--gc-sections"]),
            ("archive, --gc-sections, stripped", [program], ["-Wl,--gc-sections", "-s"]),
            ("archive, not position independent", [program], ["-no-pie"]),
            ("archive behind an object with probes", [other, program], ["-Wl,--gc-sections"])]:
        path = f"{work}/app"
        link = subprocess.run(["cc", *objects, *flags, "-o", path, ARCHIVE, *LINK_LIBRARIES], capture_output=True,
                              text=True)
        if link.returncode != 0:
            check(f"{title}: links", link.stderr)
            continue
        check_probes(title, path)
        run = subprocess.run([path], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
        check(f"{title}: runs", "" if run.returncode == 0 else f"exit status {run.returncode} {run.stderr}")


check_probes("library", LIBRARY)
with tempfile.TemporaryDirectory() as directory:
    check_programs(directory)
sys.exit(failed)
