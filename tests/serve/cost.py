#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What could break a user here: a port that takes the processor from the program, or whose answers come too late for a
scraper. With 1 GiB in use: the first byte of a heap profile within 200 ms, all of it within 1 s, and /metrics and allocs
once a second for less than half a percent of one processor.

usage: cost.py PROGRAM LIBHALLOC
"""
import os
import time

from server import Program, check, case, main, receive_all

BLOCKS = {64: 1000000, 1024: 300000, 65536: 5000, 1048576: 330}
ROUNDS = 20
FIRST_BYTE_S, WHOLE_S, CPU_S = 0.2, 1, 0.005


def cpu_of(program, name):
    for task in os.listdir(f"/proc/{program.pid}/task"):
        with open(f"/proc/{program.pid}/task/{task}/comm") as file:
            if file.read().strip() == name:
                with open(f"/proc/{program.pid}/task/{task}/schedstat") as counts:
                    return int(counts.read().split()[0]) / 1e9
    return None


@case
def a_gibibyte_is_profiled_in_time_and_for_little():
    with Program() as program:
        for size, count in BLOCKS.items():
            program.tell(f"alloc {count} {size}")
        check(program.stats()["HeapAlloc"] >= 1 << 30, "less than 1 GiB")
        request = f"GET /debug/pprof/heap HTTP/1.1\r\nHost: {program.address}\r\nConnection: close\r\n\r\n".encode()
        first, whole = [], []
        for _ in range(ROUNDS):
            began = time.monotonic()
            with program.connect() as connection:
                connection.sendall(request)
                connection.recv(1)
                first.append(time.monotonic() - began)
                receive_all(connection)
                whole.append(time.monotonic() - began)
        # On a loaded machine some rounds wait for others' work, hence medians; processor time does not depend on it.
        first, whole = sorted(first)[ROUNDS // 2], sorted(whole)[ROUNDS // 2]
        before = cpu_of(program, "halloc-http")
        for _ in range(ROUNDS):
            program.ask("/metrics")
            program.ask("/debug/pprof/allocs")
        cpu = (cpu_of(program, "halloc-http") - before) / ROUNDS
        check(first < FIRST_BYTE_S and whole < WHOLE_S, "it takes", first, "s to the first byte,", whole, "to the last")
        check(cpu < CPU_S, "a scrape takes", cpu, "s of a processor")
        return (f"first byte {first * 1000:.1f} ms, whole {whole * 1000:.1f} ms, /metrics and allocs "
                f"{cpu * 1000:.2f} ms of a processor")


main()
