#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What could break a user here: a client that is slow, gone, huge or malicious, and takes the port, memory or the program
with it.

usage: limits.py PROGRAM LIBHALLOC
"""
import os
import resource
import select
import socket
import struct
import threading
import time

from server import Answer, Program, check, check_equal, case, main, receive_all, wait_until

IDLE = 1000
MIB = 1 << 20
PLACES = 64
HEAD_SECONDS = 5  # that a connection has for its request
LONGEST_ANSWER_S = 0.1  # of another client, on a machine that does nothing else; a loaded one has a median to show it


def median_answer(program, count=15):
    """Median of the seconds that small requests take."""
    times = []
    for _ in range(count):
        began = time.monotonic()
        check_equal(program.ask("/memstats").status, 200)
        times.append(time.monotonic() - began)
    return sorted(times)[count // 2]


def expect_others(program):
    seconds = median_answer(program)
    check(seconds < LONGEST_ANSWER_S, "others wait", seconds, "s")
    return seconds


def socket_count(program):
    return sum("socket:" in line for line in program.tell("fds"))


def status_of(program, data):
    answer = program.exchange(data)
    return Answer(answer).status


@case
def requests_that_are_too_large_are_refused():
    with Program() as program:
        host = f"Host: {program.address}\r\n".encode()
        start = b"GET /memstats HTTP/1.1\r\n" + host
        check_equal(status_of(program, start + b"Connection: close\r\nX: " + b"x" * 8000 + b"\r\n\r\n"), 200)
        check_equal(status_of(program, start + b"X: " + b"x" * 8200 + b"\r\n\r\n"), 431)
        check_equal(status_of(program, start + b"X: y\r\n" * 2000 + b"\r\n"), 431)
        query = b"x" * (2048 - len("/memstats?"))
        end = b" HTTP/1.1\r\nConnection: close\r\n" + host + b"\r\n"
        check_equal(status_of(program, b"GET /memstats?" + query + end), 200)
        check_equal(status_of(program, b"GET /memstats?x" + query + end), 414)
        check_equal(status_of(program, b"GET /" + b"x" * 9000 + end), 414)
        check_equal(status_of(program, b"G" * 9000), 414)
        post = b"POST /pprof/symbol HTTP/1.1\r\n" + host
        check_equal(status_of(program, post + b"Content-Length: 1048577\r\n\r\n"), 413)
        check_equal(status_of(program, post + b"Content-Length: 99999999999999999999\r\n\r\n"), 400)
        check_equal(status_of(program, post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 411)
        whole = post + b"Connection: close\r\nContent-Length: 1048576\r\n\r\n" + b"+" * MIB
        check_equal(status_of(program, whole), 200)


@case
def requests_of_another_form_are_refused():
    with Program() as program:
        host = f"Host: {program.address}\r\n".encode()
        good = b"GET /memstats HTTP/1.1\r\n" + host
        for data, status in ((good + b" folded: x\r\n\r\n", 400), (good + b"X : y\r\n\r\n", 400), (good + b"X\r\n\r\n", 400),
                             (good + b": y\r\n\r\n", 400), (good + b"X: \0\r\n\r\n", 400), (good + b"X: a\rb\r\n\r\n", 400),
                             (good + b"X: \x7f\r\n\r\n", 400), (good.replace(b"\r\n", b"\n") + b"\n", 400),
                             (good + b"Content-Length: -1\r\n\r\n", 400), (good + b"Content-Length: +1\r\n\r\n", 400),
                             (good + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
                             (good + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                             (good + b"Content-Length: 0x1\r\n\r\n", 400), (good + b"Expect: the best\r\n\r\n", 417),
                             (good.replace(b"1.1", b"2.0") + b"\r\n", 505), (good.replace(b"1.1", b"1.10") + b"\r\n", 505),
                             (b"GET /memstats\r\n\r\n", 400), (b"GET  /memstats HTTP/1.1\r\n\r\n", 400),
                             (b"G(T /memstats HTTP/1.1\r\n\r\n", 400), (b" GET /memstats HTTP/1.1\r\n\r\n", 400),
                             (b"GET /memstats FTP/1.1\r\n\r\n", 400), (b"\r\n\r\n", 400), (b"\0\r\n\r\n", 400),
                             (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400)):
            check_equal(status_of(program, data), status, data[:120])


@case
def a_head_without_end_costs_nothing():
    with Program() as program:
        before = program.stats()
        with program.connect() as connection:
            sent = 0
            try:
                connection.sendall(b"GET / HTTP/1.1\r\n")
                while sent < 100 * MIB:
                    sent += connection.send(b"X-Filler: " + b"x" * 60000 + b"\r\n")
            except OSError:
                pass  # it is not taken to the end
        check(sent < 100 * MIB, "all of it was taken")
        expect_others(program)
        after = program.stats()
        check(after["RSS"] - before["RSS"] < MIB, "grew by", after["RSS"] - before["RSS"])


@case
def idle_connections_keep_nobody_out():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE + 200), hard))
    with Program() as program:
        expect_others(program)
        before = program.stats()
        idle = [program.connect() for _ in range(PLACES + 16)]
        began = time.monotonic()
        expect_others(program)
        check(time.monotonic() - began < HEAD_SECONDS - 1, "a place is only free when a connection's time is over")
        idle += [program.connect() for _ in range(IDLE - len(idle))]
        seconds = expect_others(program)
        after = program.stats()
        check(after["RSS"] - before["RSS"] < MIB, "grew by", after["RSS"] - before["RSS"])
        check_equal(after["Mallocs"], before["Mallocs"], "blocks of the program")
        # Half of a request each: as idle as nothing.
        for connection in idle:
            try:
                connection.sendall(b"GET /memstats HTTP/1.1\r\nHost: ")
            except OSError:
                pass  # it had to make room
        expect_others(program)
        check(socket_count(program) <= PLACES + 1, "more connections than there are places")
        for connection in idle:
            connection.close()
        return f"{IDLE} idle connections; others take {seconds * 1000:.1f} ms"


@case
def who_sends_or_reads_too_slowly_is_dropped():
    with Program(settings={"HALLOC_MEMPROFILERATE": "1"}) as program:
        program.tell("labels 20000")  # a page of some 20 MB
        host = f"Host: {program.address}\r\n".encode()
        began = time.monotonic()
        head, body = program.connect(), program.connect()
        head.sendall(b"GET /memstats HTTP/1.1\r\n" + host)
        body.sendall(b"POST /pprof/symbol HTTP/1.1\r\n" + host + b"Content-Length: 100\r\n\r\n")
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", int(program.address.rsplit(":", 1)[1])))
        reader.sendall(b"GET /debug/pprof/heap?debug=1 HTTP/1.1\r\n" + host + b"\r\n")
        ended = {}
        while len(ended) < 2 and time.monotonic() - began < 30:
            ready = select.select([c for c in (head, body) if c not in ended], [], [], 1)[0]
            for connection in (head, body):
                if connection in ready:
                    ended[connection] = (time.monotonic() - began, receive_all(connection))
                elif connection not in ended:
                    connection.send(b"X")  # a byte now and then
            check_equal(program.ask("/memstats").status, 200)
            program.tell("churn 1000")  # nor does it hold the program up
        check(4.9 < ended[head][0] < 8 and ended[head][1].startswith(b"HTTP/1.1 408 "), ended[head])
        check(9.9 < ended[body][0] < 14 and ended[body][1].startswith(b"HTTP/1.1 408 "), ended[body])
        check(socket_count(program) >= 2, "the reader was dropped at once")
        reader.close()
        wait_until(lambda: socket_count(program) == 1, "its memory is given back")


@case
def clients_that_vanish_leave_nothing():
    with Program(settings={"HALLOC_MEMPROFILERATE": "1"}) as program:
        program.tell("labels 500")
        targets = ["/debug/pprof/heap", "/debug/pprof/heap?debug=1", "/metrics", "/debug/pprof/heap?seconds=100",
                   "/debug/pprof/", "/debug/pprof/symbol?0x1"]
        check_equal(program.ask("/debug/pprof/heap?debug=1").status, 200)
        before = None
        for number in range(1000):
            connection = program.connect()
            target = targets[number % len(targets)]
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {program.address}\r\n\r\n".encode())
            if number % 3 == 0:
                connection.recv(10) if "seconds" not in target else None
            if number % 2 == 0:  # a reset instead of an end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            if number == 200:
                wait_until(lambda: socket_count(program) == 1, "the connections end")
                before = program.stats()
        wait_until(lambda: socket_count(program) == 1, "the connections end")
        after = program.stats()
        check_equal(after["Mallocs"], before["Mallocs"], "blocks of the program")
        check(after["RSS"] - before["RSS"] < 2 * MIB, "grew by", after["RSS"] - before["RSS"])
        expect_others(program)


@case
def no_request_allocates_from_the_programs_heap():
    with Program() as program:
        program.tell("alloc 20000 1000")
        targets = ["/", "/metrics", "/memstats", "/debug/pprof", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/allocs",
                   "/debug/pprof/heap?debug=1", "/debug/pprof/heap?gc=1", "/debug/pprof/allocs?seconds=1",
                   "/debug/pprof/symbol?0x1", "/debug/pprof/cmdline", "/debug/pprof/nothing", "/pprof/heap",
                   "/pprof/cmdline", "/nothing"]
        before = program.stats()
        for target in targets:
            for method in ("GET", "HEAD", "POST"):
                program.ask(target, method)
        after = program.stats()
        check_equal((after["Mallocs"], after["Frees"]), (before["Mallocs"], before["Frees"]), "mallocs and frees")


def cpu_of(program):
    with open(f"/proc/{program.pid}/stat") as file:
        return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


@case
def running_out_of_descriptors_is_survived():
    for down, up in (("take", "return"), ("limit 1", "limit 0")):
        with Program() as program:
            check_equal(program.ask("/metrics").status, 200)
            there = [program.connect() for _ in range(5)]
            wait_until(lambda: socket_count(program) == 6, "the connections are there")
            program.tell(down)
            waiting = program.connect()
            waiting.sendall(f"GET /memstats HTTP/1.1\r\nHost: {program.address}\r\nConnection: close\r\n\r\n".encode())
            before = cpu_of(program)
            time.sleep(0.5)  # not to wait for something: to see what half a second costs
            spent = cpu_of(program) - before
            check(spent < 0.2, f"after {down} it spins: {spent} s")
            program.tell(up)
            check_equal(Answer(receive_all(waiting)).status, 200)
            for connection in there:
                connection.close()


@case
def many_clients_at_once_are_served():
    with Program() as program:
        statuses = []

        def ask():
            for target in ("/metrics", "/debug/pprof/heap", "/memstats", "/debug/pprof/"):
                statuses.append(program.ask(target).status)

        threads = [threading.Thread(target=ask) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check_equal(statuses, [200] * 128)


main()
