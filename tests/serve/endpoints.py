#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What could break a user here: a dashboard, a scraper or `go tool pprof` that gets another status, type or message than
net/http/pprof gives, and so takes an answer for an error or an error for an answer.

usage: endpoints.py PROGRAM LIBHALLOC
"""
import gzip
import html.parser
import json
import re
import socket
import threading
import time

from server import Program, check, check_equal, case, main, wait_until

PLAIN = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "close",
}
NOT_POSITIVE = 'invalid value for "seconds" - must be a positive integer\n'


def expect(answer, status, content_type, more=(), body=None):
    check_equal(answer.status, status, "the status")
    fields = dict(answer.fields)
    fields.pop("Content-Length")
    check_equal(fields, {**ALWAYS, "Content-Type": content_type, **dict(more)}, "the header")
    if body is not None:
        check_equal(answer.text, body, "the body")


def expect_error(answer, status, message):
    expect(answer, status, PLAIN, {"X-Go-Pprof": "1"}, message)


@case
def snapshots_have_the_types_and_names_of_go():
    with Program() as program:
        program.tell("alloc 20000 1000")
        for name in ("heap", "allocs"):
            answer = program.ask(f"/debug/pprof/{name}")
            expect(answer, 200, BINARY, {"Content-Disposition": f'attachment; filename="{name}"'})
            check(gzip.decompress(answer.body), "it is empty")
            for debug in ("1", "2", "7", "-1", "%2B1", "99999999999999999999"):
                answer = program.ask(f"/debug/pprof/{name}?debug={debug}")
                expect(answer, 200, PLAIN)
                check(answer.text.startswith("heap profile: "), answer.text[:80])
                check("# runtime.MemStats" in answer.text, "no statistics")
            for debug in ("0", "", "x", "1x", "0x1", "1%20"):
                check_equal(program.ask(f"/debug/pprof/{name}?debug={debug}").fields["Content-Type"], BINARY, debug)
        check_equal(program.ask("/debug/pprof/heap?debug=1&debug=0").fields["Content-Type"], PLAIN, "the first wins")
        check_equal(program.ask("/debug/pprof/heap?%64ebug=%31").fields["Content-Type"], PLAIN, "escapes are read")
        check_equal(program.ask("/debug/pprof/heap?debug=1;x").fields["Content-Type"], BINARY, "as Go: no semicolons")


@case
def every_profile_of_the_index_is_served_in_all_its_forms():
    with Program() as program:
        program.tell("alloc 20000 1000")
        names = re.findall(r"<a href='(\w+)\?debug=1'>", program.ask("/debug/pprof/").text)
        profiles = set(names) - {"cmdline", "symbol", "profile", "trace"}
        check({"heap", "allocs", "rss"} <= profiles, names)
        before = program.stats()
        for name in sorted(profiles):
            answer = program.ask(f"/debug/pprof/{name}")
            expect(answer, 200, BINARY, {"Content-Disposition": f'attachment; filename="{name}"'})
            check(gzip.decompress(answer.body), name, "is empty")
            for debug in (1, 2):
                answer = program.ask(f"/debug/pprof/{name}?debug={debug}")
                if answer.status == 501:
                    expect_error(answer, 501, "this profile has no text form\n")
                else:
                    expect(answer, 200, PLAIN)
        after = program.stats()
        check_equal((after["Mallocs"], after["Frees"]), (before["Mallocs"], before["Frees"]), "mallocs and frees")


@case
def errors_have_the_statuses_and_messages_of_go():
    with Program() as program:
        expect_error(program.ask("/debug/pprof/nothing"), 404, "Unknown profile\n")
        expect_error(program.ask("/debug/pprof/heap/"), 404, "Unknown profile\n")
        expect_error(program.ask("/debug/pprof/" + "x" * 200), 404, "Unknown profile\n")
        for value in ("0", "-1", "x", "1.5", "1s", "99999999999999999999", "%20"):
            expect_error(program.ask(f"/debug/pprof/heap?seconds={value}"), 400, NOT_POSITIVE)
        expect_error(program.ask("/debug/pprof/heap?seconds=1&debug=1"), 400, "seconds and debug params are incompatible\n")
        expect_error(program.ask("/debug/pprof/allocs?seconds=301"), 400,
                     'invalid value for "seconds" - must be at most 300\n')
        expect_error(program.ask("/debug/pprof/nothing?seconds=x"), 404, "Unknown profile\n")
        expect(program.ask("/nothing"), 404, PLAIN, body="404 page not found\n")
        expect(program.ask("/debug/pprof?x"), 301, "text/html; charset=utf-8", {"Location": "/debug/pprof/"},
               '<a href="/debug/pprof/">Moved Permanently</a>.\n\n')
        # An empty value is none.
        expect(program.ask("/debug/pprof/heap?seconds="), 200, BINARY,
               {"Content-Disposition": 'attachment; filename="heap"'})


@case
def methods_are_those_of_go():
    with Program() as program:
        for target in ("/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/nothing", "/debug/pprof/cmdline", "/metrics",
                       "/memstats", "/", "/pprof/heap"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X"):
                answer = program.ask(target, method)
                expect(answer, 405, PLAIN, {"Allow": "GET, HEAD"}, "Method Not Allowed\n")
        for target in ("/debug/pprof/symbol", "/pprof/symbol"):
            expect(program.ask(target, "PUT"), 405, PLAIN, {"Allow": "GET, HEAD, POST"}, "Method Not Allowed\n")
        check_equal(program.ask("/nothing", "POST").status, 404, "POST of what is not there")
        for target in ("/debug/pprof/heap?debug=1", "/metrics", "/debug/pprof/nothing", "/"):
            get, head = program.ask(target), program.ask(target, "HEAD")
            check_equal(head.body, b"", "the body of HEAD")
            check_equal(head.status, get.status)
            check_equal(set(head.fields), set(get.fields))
            check(abs(int(head.fields["Content-Length"]) - len(get.body)) < 2000, "the length is of another page")


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name == "href"]
        if tag not in ("br", "p"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "p":
            check_equal(self.open.pop(), tag, "the tag that ends here")

    def handle_data(self, data):
        self.text += data


@case
def the_index_lists_every_profile_with_its_count():
    with Program() as program:
        program.tell("alloc 20000 1000")
        answer = program.ask("/debug/pprof/")
        expect(answer, 200, "text/html; charset=utf-8")
        page = Page(answer.text)
        check_equal(page.open, [], "what is still open")
        rows = re.findall(r"<tr><td>(\d+)</td><td><a href='([^']*)'>([^<]*)</a></td></tr>", answer.text)
        counts = {name: int(count) for count, _, name in rows}
        names = [name for _, _, name in rows]
        check_equal(names, sorted(names), "the order")
        check({"heap", "allocs", "cmdline", "symbol"} <= set(names), names)
        check(counts["heap"] >= 1 and counts["cmdline"] == 0, counts)
        for link in page.links:
            takes_time = link.startswith(("profile?", "trace?"))  # half a minute, unless told otherwise
            target = "/debug/pprof/" + link + ("&seconds=1" if takes_time else "")
            check(program.ask(target).status in (200, 403, 501), "a link that leads nowhere:", link)
        for name in names:
            check(re.search(rf"<li><div class=profile-name>{name}: </div> [A-Z]", answer.text), name, "is not described")


@case
def the_command_line_is_served_only_if_asked_for():
    with Program() as program:
        expect_error(program.ask("/debug/pprof/cmdline"), 403,
                     "the command line may hold secrets; HALLOC_HTTP_CMDLINE=1 serves it\n")
        name = program.process.args[0]
        expect(program.ask("/pprof/cmdline"), 200, PLAIN, body=name)
    with Program(settings={"HALLOC_HTTP_CMDLINE": "1"}) as program:
        expect(program.ask("/debug/pprof/cmdline"), 200, PLAIN, body="\0".join(program.process.args))


def address_of(program, function):
    """The runtime address of a function, and of the byte after its first instruction."""
    text = program.ask("/debug/pprof/heap?debug=1").text
    found = re.search(rf"^#\t(0x[0-9a-f]+)\t{function}\+(0x[0-9a-f]+)", text, re.M)
    check(found, f"no frame of {function} in\n" + text[:1000])
    return int(found.group(1), 16)


@case
def symbols_are_named_by_get_and_post():
    with Program() as program:
        program.tell("alloc 40000 1000")
        address = address_of(program, "keep_blocks")
        line = f"0x{address:x} keep_blocks\n"
        for path in ("/debug/pprof/symbol", "/pprof/symbol"):
            expect(program.ask(path), 200, PLAIN, body="num_symbols: 1\n")
            expect(program.ask(f"{path}?0x{address:x}"), 200, PLAIN, body="num_symbols: 1\n" + line)
            expect(program.ask(f"{path}?{address}"), 200, PLAIN, body="num_symbols: 1\n" + line)
            expect(program.ask(path, "POST", body=f"0x{address:X}+0x10+x+0+{address}+".encode()), 200, PLAIN,
                   body="num_symbols: 1\n" + line + line)
        many = "+".join(f"0x{address:x}" for _ in range(40000))
        answer = program.ask("/debug/pprof/symbol", "POST", body=many.encode())
        check_equal(answer.text.count(line), 40000, "the number of names")
        for nonsense in ("+", "++++", "0x", "0xg", "-1", "0x10000000000000000", "%", "1+2+3", "\x00\xff+\n"):
            answer = program.ask("/debug/pprof/symbol", "POST", body=nonsense.encode("latin-1"))
            check_equal(answer.text.splitlines()[0], "num_symbols: 1")


@case
def statistics_are_json_with_the_names_of_go():
    with Program() as program:
        program.tell("alloc 1000 1000")
        answer = program.ask("/memstats")
        expect(answer, 200, "application/json")
        stats = json.loads(answer.text)
        check_equal(stats["HeapObjects"], stats["Mallocs"] - stats["Frees"])
        check(stats["HeapAlloc"] >= 1000 * 1000 and stats["HeapInuse"] >= stats["HeapAlloc"], stats)


@case
def gc_gives_idle_memory_back_first():
    with Program(settings={"HALLOC_BACKGROUND": "0"}) as program:
        program.tell("alloc 64 1000000")
        program.tell("drop 64")
        before = program.stats()
        check_equal(program.ask("/debug/pprof/heap?gc=0").status, 200)
        check_equal(program.ask("/debug/pprof/allocs?gc=1").status, 200)  # Go's too is only for heap
        between = program.stats()
        check(between["HeapReleased"] - before["HeapReleased"] < 16 << 20, "released without being asked")
        check_equal(program.ask("/debug/pprof/heap?gc=1").status, 200)
        after = program.stats()
        check(after["HeapReleased"] - between["HeapReleased"] > 30 << 20, between, after)


@case
def other_requests_do_not_wait_for_seconds():
    with Program() as program:
        results = []
        threads = [threading.Thread(target=lambda: results.append(program.ask("/debug/pprof/allocs?seconds=2")))
                   for _ in range(4)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        slowest = 0
        while time.monotonic() - began < 1.5:
            asked = time.monotonic()
            check_equal(program.ask("/metrics").status, 200)
            slowest = max(slowest, time.monotonic() - asked)
        for thread in threads:
            thread.join()
        check_equal([answer.status for answer in results], [200] * 4)
        check(time.monotonic() - began >= 2, "the answers came early")
        check(slowest < 1, "a request took", slowest, "s")
        expect(results[0], 200, BINARY, {"Content-Disposition": 'attachment; filename="allocs-delta"'})
        return f"slowest of the others {slowest * 1000:.1f} ms"


@case
def waiting_requests_are_bounded_and_end_with_their_clients():
    with Program() as program:
        request = f"GET /debug/pprof/heap?seconds=300 HTTP/1.1\r\nHost: {program.address}\r\n\r\n".encode()
        for _ in range(3):
            waiting = [program.connect() for _ in range(17)]
            for connection in waiting:
                connection.sendall(request)
                # Asked later and answered: so the one before has been taken.
                check_equal(program.ask("/memstats").status, 200)
            refused = []
            for connection in waiting:
                connection.setblocking(False)
                try:
                    refused.append(connection.recv(4096))
                except BlockingIOError:
                    pass
            check_equal(len(refused), 1, "the number of refused requests")
            check(refused[0].startswith(b"HTTP/1.1 503 ") and b"X-Go-Pprof: 1" in refused[0], refused[0][:100])
            for connection in waiting:
                connection.close()
            wait_until(lambda: len(program.tell("fds")) == 1, "the connections are closed")
        # If one of them were still counted, the last 16 could not all have been taken.


def one_span_is_taken_at_a_time(program, name, refusal):
    """A second one is refused, and it ends with its client."""
    request = f"GET /debug/pprof/{name}?seconds=300 HTTP/1.1\r\nHost: {program.address}\r\n\r\n".encode()
    for _ in range(3):
        with program.connect() as waiting:
            waiting.sendall(request)
            check_equal(program.ask("/memstats").status, 200)
            expect_error(program.ask(f"/debug/pprof/{name}?seconds=1"), 500, refusal)
        wait_until(lambda: len(program.tell("fds")) == 1, "the connection is closed, and what it waited for with it")


@case
def one_profile_of_processor_time_is_taken_at_a_time():
    with Program() as program:
        one_span_is_taken_at_a_time(program, "profile",
                                    "Could not enable CPU profiling: cpu profiling already in use\n")
        for path in ("/debug/pprof/profile?seconds=1", "/pprof/profile?seconds=1"):
            expect(program.ask(path), 200, BINARY, {"Content-Disposition": 'attachment; filename="profile"'})
        expect_error(program.ask("/debug/pprof/profile?seconds=301"), 400,
                     'invalid value for "seconds" - must be at most 300\n')


@case
def a_trace_is_json_and_one_is_taken_at_a_time():
    with Program() as program:
        one_span_is_taken_at_a_time(program, "trace", "Could not enable tracing: tracing is already enabled\n")
        answer = program.ask("/debug/pprof/trace")
        expect(answer, 200, BINARY, {"Content-Disposition": 'attachment; filename="trace"'})
        events = json.loads(answer.body)["traceEvents"]
        check(events and all("ph" in event and "pid" in event for event in events), "no events, or none of a process")


@case
def connections_are_kept_and_requests_may_follow_each_other():
    with Program() as program:
        one = f"GET /memstats HTTP/1.1\r\nHost: {program.address}\r\n\r\n"
        last = f"GET /nothing HTTP/1.1\r\nHost: {program.address}\r\nConnection: close\r\n\r\n"
        post = f"POST /pprof/symbol HTTP/1.1\r\nHost: {program.address}\r\nContent-Length: 3\r\n\r\n1+2"
        data = program.exchange((one * 20 + post * 5 + last).encode())
        check_equal(data.count(b"HTTP/1.1 200 OK\r\n"), 25, "the number of answers")
        check_equal(data.count(b"Connection: keep-alive\r\n"), 25)
        check(data.endswith(b"404 page not found\n"), data[-200:])
        old = program.exchange(f"GET /memstats HTTP/1.0\r\nHost: {program.address}\r\n\r\n".encode())
        check(b"Connection: close\r\n" in old, old[:300])
        with program.connect() as connection:
            for _ in range(50):
                connection.sendall(one.encode())
                data = b""
                while not data.endswith(b"}\n"):
                    data += connection.recv(65536)


@case
def a_body_may_be_announced_and_come_in_pieces():
    with Program() as program, program.connect() as connection:
        body = b"0x10+" * 20000
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"POST /debug/pprof/symbol HTTP/1.1\r\nHost: {program.address}\r\nConnection: close\r\n"
                           f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        check_equal(connection.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
        for at in range(0, len(body), 7001):
            connection.sendall(body[at:at + 7001])
        data = connection.recv(100)
        check(data.startswith(b"HTTP/1.1 200 OK"), data)


@case
def the_own_server_of_a_program_gives_the_same_answers():
    with Program(None) as program:
        check_equal(program.tell("address"), ["none"])
        lines = program.tell("handle GET /debug/pprof/nothing")
        check_equal(lines[0], "404")
        check("X-Go-Pprof: 1" in lines and "Content-Type: " + PLAIN in lines and "Content-Length: 16" in lines, lines)
        check_equal(lines[-3:], ["Unknown profile", "", "result 0, 16 bytes"])
        lines = program.tell("handle POST /pprof/symbol 0x10+0x20")
        check_equal(lines[0], "200")
        check("num_symbols: 1" in lines, lines)
        lines = program.tell("handle HEAD /metrics")
        check_equal(lines[-1], "result 0, 0 bytes")
        began = time.monotonic()
        lines = program.tell("handle GET /debug/pprof/heap?seconds=1")
        check(time.monotonic() - began >= 1, "it did not wait")
        check_equal(lines[0], "200")
        check('Content-Disposition: attachment; filename="heap-delta"' in lines, lines[:12])
        check_equal(program.tell("handle GET debug/pprof/")[-1], "result -22, 0 bytes")
        check_equal(program.tell("refuse"), ["EPIPE"])
        check_equal([line.split()[0] for line in program.tell("threads")], ["serve_program"], "the threads")


main()
