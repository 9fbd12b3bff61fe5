#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What could break a user here: a port that outlives its program, is shared with its children, keeps it from ending, or
takes connections that were meant for somebody else.

usage: life.py PROGRAM LIBHALLOC STATIC_PROGRAM
"""
import os
import socket
import sys
import threading
import time

from server import LIBRARY, WORK, Failed, Program, check, check_equal, case, main, run, wait_until

STATIC_PROGRAM = os.path.realpath(sys.argv.pop(3))
UNIX = "unix:" + os.path.join(WORK, "socket")


def sockets(program):
    return [line for line in program.tell("fds") if "socket:" in line]


@case
def the_thread_has_a_name_and_takes_no_signals():
    with Program() as program:
        def names():
            return {line.split()[0] for line in program.tell("threads")}

        # A thread names itself when it runs first.
        wait_until(lambda: names() == {"serve_program", "halloc-http", "halloc"}, "all threads have their names")
        threads = dict(line.split() for line in program.tell("threads"))
        # All but the two that libc keeps for itself (32 and 33), SIGKILL and SIGSTOP, which cannot be blocked.
        for name in ("halloc-http", "halloc"):
            blocked = int(threads[name], 16)
            missing = [number for number in range(1, 65) if not blocked >> (number - 1) & 1]
            check(set(missing) <= {9, 19, 32, 33}, name, "takes signals", missing)
        check_equal(int(threads["serve_program"], 16), 0, "what the program blocks")
    with Program(settings={"HALLOC_BACKGROUND": "0"}) as program:
        check_equal(program.ask("/memstats").status, 200)
        check_equal({line.split()[0] for line in program.tell("threads")}, {"serve_program", "halloc-http"})


@case
def the_port_opens_by_environment_and_says_where():
    for settings in ({}, {"LD_PRELOAD": LIBRARY}):
        with Program("127.0.0.1:0", settings, serve_by_environment=True) as program:
            check_equal(program.errors, f"halloc: serving http://{program.address}/debug/pprof/\n")
            check_equal(program.ask("/memstats").status, 200)
    with Program(UNIX, serve_by_environment=True) as program:
        check_equal(program.errors, f"halloc: serving {UNIX}\n")
    program = Program(command=[STATIC_PROGRAM, ":0"])
    program.address = program.read_reply()[0]
    check_equal(program.ask("/debug/pprof/heap").status, 200)
    check_equal(program.end(), 0)


@case
def descriptors_are_high_and_not_inherited_by_programs():
    with Program() as program, program.connect() as connection:
        connection.sendall(f"GET /debug/pprof/heap?seconds=100 HTTP/1.1\r\nHost: {program.address}\r\n\r\n".encode())
        wait_until(lambda: len(sockets(program)) == 2, "the connection is there")
        for line in sockets(program):
            fd, _, how = line.split()
            check(int(fd) >= 100 and how == "cloexec", line)
        check_equal(program.tell("spawn"), ["0"], "sockets that a shell inherits")


@case
def a_forked_child_does_not_serve_but_may():
    for address in (":0", UNIX):
        with Program(address) as program:
            waiting = program.connect()
            waiting.sendall(f"GET /debug/pprof/heap?seconds=300 HTTP/1.1\r\nHost: {program.address}\r\n\r\n".encode())
            wait_until(lambda: len(sockets(program)) == 2, "the connection is there")
            program.send_line("fork")
            check_equal(program.read_reply(), [], "the child")
            check_equal(program.tell("address"), ["none"])
            check_equal(sockets(program), [], "sockets of the child")
            check_equal(len(program.tell("threads")), 1, "the number of the child's threads")
            check_equal(program.ask("/memstats").status, 200, "the parent, while it waits for the child,")
            own = program.tell("serve :0")[0]
            check(own.startswith("127.0.0.1:") and own != program.address, own)
            parent, program.address = program.address, own
            program.tell("alloc 10000 1000")
            for target in ("/memstats", "/metrics", "/debug/pprof/heap", "/debug/pprof/heap?debug=1"):
                check_equal(program.ask(target).status, 200, "the child's " + target)
            with open(f"/proc/{program.pid}/task/{program.pid}/children") as file:
                check_equal(len(file.read().split()), 1)
            program.send_line("leave")
            check_equal(program.read_reply(), ["the child ended with 0"])
            program.address = parent
            check_equal(program.ask("/memstats").status, 200, "the parent, after the child,")
            if address == UNIX:
                check(os.path.exists(UNIX[5:]), "the child removed its parent's socket")
            waiting.close()


@case
def children_forked_under_load_have_no_sockets():
    with Program() as program:
        is_over = threading.Event()

        def load():
            while not is_over.is_set():
                for target in ("/metrics", "/debug/pprof/heap", "/debug/pprof/heap?debug=1"):
                    program.ask(target)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            check_equal(program.tell("forks 300"), ["0"], "children with sockets")
        finally:
            is_over.set()
            for thread in threads:
                thread.join()


@case
def a_program_ends_as_it_would_without_the_port():
    for how in ("exit", "_exit", "quick_exit", "pthread_exit"):
        for settings in ({}, {"HALLOC_BACKGROUND": "0"}):
            program = Program(UNIX, settings)
            waiting = program.connect()
            waiting.sendall(b"GET /debug/pprof/heap?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            program.send_line(f"quit {how}")
            check_equal(program.process.wait(20), 0, how)
            check_equal(os.path.lexists(UNIX[5:]), how == "_exit", f"after {how}, the socket")
            waiting.close()
    with Program() as program, program.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")


@case
def a_port_that_the_program_closes_is_opened_again():
    for address, how in ((":0", "close"), (UNIX, "close"), (":0", "shut"), (UNIX, "shut")):
        with Program(address) as program:
            program.tell(how)

            def is_served():
                try:
                    return program.ask("/memstats").status == 200
                except (OSError, Failed):
                    return False

            wait_until(is_served, "it is served again")
            wait_until(lambda: len(sockets(program)) == 1, "nothing else is left open")


@case
def a_number_that_the_program_uses_again_is_left_alone():
    with Program() as program, program.connect() as idle:
        wait_until(lambda: len(sockets(program)) == 2, "the connection is there")
        port = int(program.tell("steal")[0])
        began = time.monotonic()
        while time.monotonic() - began < 2.5:  # more than two of the seconds after which the port looks at its listener
            with socket.create_connection(("127.0.0.1", port), 5):
                check_equal(program.tell("accept"), ["accepted"])
        idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
        check(any(line.split()[0] in ("100", "101") for line in sockets(program)), "the program's descriptors are closed")


@case
def a_program_that_executes_itself_serves_again():
    with Program("127.0.0.1:0") as first:
        port = first.address
    with Program(port, serve_by_environment=True) as program:
        for _ in range(3):
            program.send_line("exec")
            check_equal(program.read_reply(), [port])
            check_equal(program.ask("/memstats").status, 200)


@case
def the_first_byte_comes_soon_after_the_start():
    began = time.monotonic()
    with Program() as program:
        check_equal(program.ask("/metrics").status, 200)
        check(time.monotonic() - began < 5, "it took", time.monotonic() - began, "s")
    out = run("/bin/sh", "-c", f"HALLOC_HTTP=:0 LD_PRELOAD={LIBRARY} /bin/true 2>&1")
    check(out.startswith("halloc: serving http://127.0.0.1:") and out.count("\n") == 1, out)


main()
