#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Exceptions and cancellation of the program stay libgcc's business.

Catches an unwinder of ours that takes the place of libgcc's (libunwind exports the same names), and
samples in the middle of a throw that disturb it.
"""
import re

import walker

FRAMES = "100000"
driver = walker.Driver()


def bindings(command, mode):
    """Every reference to an unwinder function, from wherever, is bound to libgcc_s; and there are some."""
    out = driver.path("bindings")
    for old in walker.os.listdir(driver.work):
        if old.startswith("bindings"):
            walker.os.unlink(driver.path(old))
    driver.run(command, mode=mode, rate=512, LD_DEBUG="bindings", LD_DEBUG_OUTPUT=out)
    text = ""
    for name in walker.os.listdir(driver.work):
        if name.startswith("bindings"):
            with open(driver.path(name), encoding="utf-8", errors="replace") as file:
                text += file.read()
    found = re.findall(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `(_Unwind_\w+)'", text)
    walker.check(any(symbol == "_Unwind_RaiseException" for _, _, symbol in found),
                 "no binding of the unwinder in", len(text), "bytes")
    for user, provider, symbol in found:
        if "/libunwind" in user:
            continue  # mode dwarf: its references to itself concern no one else
        walker.check("libgcc_s.so" in provider, symbol, "of", user, "is bound to", provider)


def main():
    program = driver.compile("unwinder", "g++", "-O1", "-pthread", "unwinder.cc")
    plugin = driver.compile("unwinder.so", "g++", "-O1", "-pthread", "-fPIC", "-shared", "-DPLUGIN",
                            "unwinder.cc")
    host = driver.compile("host", "gcc", "-O1", "unwinder_host.c")
    commands = {"program": [program], "library": [host]}
    for mode in ("auto", "dwarf", "libgcc", "fp"):
        for name, command in commands.items():
            tail = [plugin] if name == "library" else []
            driver.case(f"bindings_{name}_{mode}", bindings, [*command, "1000", *tail], mode)
            for rate in (1, 512):
                title = f"exceptions_{name}_{mode}_rate{rate}"
                driver.case(title, driver.run, [*command, FRAMES, *tail], mode, rate)


main()
driver.finish()
