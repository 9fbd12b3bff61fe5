#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What could break a user here: a port that is open without being asked for, or that a web page, another user or another
machine reads.

usage: guard.py PROGRAM LIBHALLOC STATIC_PROGRAM
"""
import os
import re
import shutil
import socket
import stat
import subprocess
import sys

from server import LIBRARY, PROGRAM, WORK, Failed, Program, Skipped, check, check_equal, case, main, run, wait_until

STATIC_PROGRAM = os.path.realpath(sys.argv.pop(3))
TOKEN = "s3cret-token-of-the-tests"


def listening_of(pid):
    """What the kernel says that the process listens at."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
        inodes |= {found.group(1)} if found else set()
    found = []
    for name in ("tcp", "tcp6", "unix"):
        with open(f"/proc/{pid}/net/{name}") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                is_listening = words[3] == "00010000" if name == "unix" else words[3] == "0A"
                if is_listening and (words[6] if name == "unix" else words[9]) in inodes:
                    found.append((name, words[1]))
    return found


@case
def nothing_listens_unless_it_is_asked_for():
    for settings in ({}, {"HALLOC_HTTP_TOKEN": TOKEN}, {"HALLOC_HTTP_CMDLINE": "1"}):
        with Program(None, settings) as program:
            program.tell("alloc 1000 1000")
            check_equal(listening_of(program.pid), [])
            check_equal(len(program.tell("threads")), 1, "the number of threads")
            check_equal(program.tell("fds"), [], "the descriptors")
            check_equal(program.tell("address"), ["none"])
            with open(f"/proc/{program.pid}/maps") as file:
                check("libhalloc-pprof" not in file.read(), "the encoders are loaded")
            check_equal(program.errors, "")


def is_reading(pid):
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().startswith("0 0x0 ")


@case
def unmodified_programs_serve_only_what_the_environment_says():
    commands = (["cat"], ["sh", "-c", "read x"], ["bash", "-c", "read x"], ["perl", "-e", "<STDIN>"], ["sort"], ["wc"],
                ["/usr/bin/python3", "-c", "input()"], ["lua5.4", "-e", "io.read()"], ["sqlite3"], ["grep", "x"], ["tac"],
                ["sed", "s/x/y/"], ["awk", "1"], ["tr", "x", "y"], ["od"], ["md5sum"], ["gzip"], ["uniq"], ["tee"], ["cut", "-f1"])
    for command in commands:
        for settings in ({}, {"HALLOC_HTTP": ":0"}):
            program = Program(None, {**settings, "LD_PRELOAD": LIBRARY}, command)
            # A program that waits for input has started up.
            wait_until(lambda: is_reading(program.pid), f"{command} reads")
            check_equal(len(listening_of(program.pid)), 1 if settings else 0, f"{command} {settings}")
            program.process.stdin.write(b"x\n")
            program.end()


def bind(address, settings=(), error=None):
    """The bound address, or a check that it was refused so."""
    program = Program(None, settings)
    result = program.tell(f"serve {address}")[0]
    check_equal(program.end(), 0)
    if error is not None:
        check_equal(result, error, address)
    return result


@case
def addresses_are_local_unless_there_is_a_token():
    check(re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", bind(":0")), bind(":0"))
    check(bind("127.0.0.1:0").startswith("127.0.0.1:"))
    check(bind("127.9.9.9:0").startswith("127.9.9.9:"))
    check(bind("localhost:0").startswith("127.0.0.1:"))
    check(bind("0").startswith("127.0.0.1:"))
    check(bind("[::1]:0").startswith("[::1]:"), bind("[::1]:0"))
    for open_address in ("0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"):
        bind(open_address, error="EACCES")
    for bad_token in ("", "with space", "x" * 257, "tab\there"):
        bind(":0", {"HALLOC_HTTP_TOKEN": bad_token}, "EACCES")
    check(bind("0.0.0.0:0", {"HALLOC_HTTP_TOKEN": TOKEN}).startswith("0.0.0.0:"))
    for nonsense in ("x", "x:1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:1x", "::1:0",
                     "[::1]", "[::1", "unix:", "unix:relative", "unix:/" + "x" * 95, "http://127.0.0.1:1", "1.2.3:4",
                     "256.1.1.1:1", "127.0.0.1:000001"):
        bind(nonsense, error="EINVAL")


@case
def the_environment_says_in_one_line_what_is_wrong():
    form = ("expected IP:PORT such as 127.0.0.1:6060 or [::1]:6060, :PORT for 127.0.0.1 (0: any free port), or unix:/path "
            "(at most 95 bytes); the default is used")
    with Program("nonsense", serve_by_environment=True) as program:
        check_equal(program.address, "none")
        check_equal(program.errors, f"halloc: HALLOC_HTTP=nonsense: {form}\n")
    with Program("0.0.0.0:6061", serve_by_environment=True) as program:
        check_equal(program.address, "none")
        check_equal(program.errors, "halloc: HALLOC_HTTP=0.0.0.0:6061: not served: an address that other machines reach "
                                    "needs HALLOC_HTTP_TOKEN\n")
    with Program(":0", {"HALLOC_HTTP_TOKEN": "my secret"}, serve_by_environment=True) as program:
        check_equal(program.address, "none")
        check_equal(sorted(program.errors.splitlines()),
                    ["halloc: HALLOC_HTTP=127.0.0.1:0: not served: HALLOC_HTTP_TOKEN is malformed",
                     "halloc: HALLOC_HTTP_TOKEN: expected 1 to 256 visible ASCII characters without spaces; nothing is "
                     "served"])


@case
def the_port_taken_is_one_line_and_the_program_runs():
    with Program() as first, Program(first.address, serve_by_environment=True) as second:
        check_equal(second.errors, f"halloc: HALLOC_HTTP={first.address}: not served: Address already in use\n")
        check_equal(second.tell("address"), ["none"])
        check_equal(second.tell(f"serve {first.address}"), ["EADDRINUSE"])
        check(second.tell("serve :0")[0].startswith("127.0.0.1:"), "another one after that")
        check_equal(second.tell("serve :0"), ["EALREADY"])
        check_equal(first.ask("/memstats").status, 200)


@case
def pages_of_rebound_names_are_refused():
    with Program() as program:
        port = program.address.rsplit(":", 1)[1]
        good = ("127.0.0.1", f"127.0.0.1:{port}", "localhost", f"LocalHost:{port}", f"[::1]:{port}", "[::1]", "10.1.2.3:80")
        for host in good:
            check_equal(program.ask("/debug/pprof/heap", host=host).status, 200, host)
        bad = ("evil.example", "localhost6", f"localhost6:{port}", f"127.0.0.1.nip.io:{port}", "localhost.evil.example",
               "localhost.", "127.0.0.1@evil.example", "", " ", ":", "[::1", "::1", "[evil.example]", "127.0.0.1:80:80",
               "127.0.0.1:x", "0x7f.1", "2130706433", "127.1", "[::1]evil.example", "xlocalhost", "127.0.0.1 evil.example")
        for target in ("/", "/metrics", "/debug/pprof/heap", "/nothing"):
            for host in bad:
                answer = program.ask(target, host=host)
                check_equal(answer.status, 403, f"{target} of {host!r}")
                check_equal(answer.text, "the Host must be an IP address or localhost\n")
        data = program.exchange(b"GET /metrics HTTP/1.1\r\n\r\n")
        check(data.startswith(b"HTTP/1.1 403 "), data)
        data = program.exchange(b"GET /metrics HTTP/1.0\r\n\r\n")
        check(data.startswith(b"HTTP/1.1 403 "), data)
        for target in ("http://127.0.0.1/metrics", f"http://{program.address}/metrics", "https://evil.example/metrics"):
            check_equal(program.ask(target).status, 403, target)
        twice = f"GET /metrics HTTP/1.1\r\nHost: {program.address}\r\nHost: evil.example\r\n\r\n"
        check(program.exchange(twice.encode()).startswith(b"HTTP/1.1 400 "))


@case
def requests_of_other_pages_are_refused():
    for settings, token in (({}, {}), ({"HALLOC_HTTP_TOKEN": TOKEN}, {"Authorization": f"Bearer {TOKEN}"})):
        with Program(settings=settings) as program:
            own = f"http://{program.address}"
            for fields, status in (({"Origin": own}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200),
                                   ({"Sec-Fetch-Site": "none"}, 200), ({"Origin": "http://evil.example"}, 403),
                                   ({"Origin": "null"}, 403), ({"Origin": ""}, 403), ({"Origin": "http://localhost"}, 403),
                                   ({"Origin": own + "1"}, 403), ({"Origin": own[:-1]}, 403),
                                   ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
                                   ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"}, 403)):
                answer = program.ask("/debug/pprof/heap?seconds=x", fields={**fields, **token})
                check_equal(answer.status, 400 if status == 200 else status, fields)
                check("Access-Control-Allow-Origin" not in answer.fields)


@case
def every_request_needs_the_token():
    with Program(settings={"HALLOC_HTTP_TOKEN": TOKEN}) as program:
        for target in ("/", "/metrics", "/memstats", "/debug/pprof/", "/debug/pprof/heap", "/nothing", "/pprof/cmdline"):
            good = program.ask(target, fields={"Authorization": f"Bearer {TOKEN}"}, host="any.name.example")
            check(good.status in (200, 404), good.status)
            for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer"},
                          {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": ""},
                          {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": f"Bearer {TOKEN} x"},
                          {"Authorization": f"Bearer {TOKEN.upper()}"}, {"Authorization": f"Bearer {TOKEN}{TOKEN}"},
                          {"Authorization": f"Bearer\t{TOKEN}"}):
                answer = program.ask(target, fields=wrong)
                check_equal(answer.status, 401, f"{target} with {wrong}")
                check_equal(answer.fields["WWW-Authenticate"], "Bearer")
                check(TOKEN not in answer.text, answer.text)
        for scheme in ("bearer", "BEARER", "Bearer  "):
            check_equal(program.ask("/metrics", fields={"Authorization": f"{scheme} {TOKEN}"}).status, 200, scheme)
        # A body is not read for somebody without the token.
        data = program.exchange(f"POST /pprof/symbol HTTP/1.1\r\nHost: {program.address}\r\nContent-Length: 1000000\r\n"
                                "Expect: 100-continue\r\n\r\n".encode())
        check(data.startswith(b"HTTP/1.1 401 "), data)
        check(TOKEN not in program.errors, program.errors)


@case
def no_part_of_a_request_becomes_a_file():
    trace = os.path.join(WORK, "trace")
    strace = shutil.which("strace")
    check(strace, "strace is not installed; it is in the Debian package strace")
    program = Program(command=[strace, "-f", "-o", trace, "-e", "trace=%file", PROGRAM, ":0"])
    program.address = program.read_reply()[0]
    targets = ["/../../etc/passwd", "/debug/pprof/../../etc/passwd", "/debug/pprof/..", "/debug/pprof/%2e%2e/%2e%2e/etc/passwd",
               "/%2e%2e/", "//etc/passwd", "/debug/pprof//heap", "/debug//pprof/heap", "/debug/pprof/heap%00", "/metrics/",
               "/metrics%2f..", "/debug/pprof/heap/../heap", "/./metrics", "/metrics/.", "/debug/pprof/%68eap", "/etc/passwd",
               "/debug/pprof/etc/passwd", "/debug/pprof/heap.pb.gz", "/METRICS", "/debug/pprof/Heap", "/\\etc\\passwd",
               "/?/etc/passwd", "/debug/pprof/C:\\passwd", "/debug/pprof/heap#passwd"]
    for target in targets:
        status = program.ask(target).status
        check(status == (200 if target.startswith("/?") else 404), target, status)
    for target in ("/metrics\0", "/met rics", "/\x7f", "/\xff", "metrics", "*", "?", "/a\tb"):
        check_equal(program.ask(target).status, 400, repr(target))
    check_equal(program.ask("/debug/pprof/heap?debug=../../etc/passwd").status, 200)
    program.end()
    with open(trace) as file:
        touched = [line for line in file if "passwd" in line]
    check_equal(touched, [], "the files touched")


@case
def hostile_names_stay_texts():
    with Program(settings={"HALLOC_MEMPROFILERATE": "1"}) as program:
        values = ["<script>alert(1)</script>", "\"><img/src=x>", "'\"`;--", "%0d%0aSet-Cookie:x=1", "\x01\x1b[31m", "\\\"}"]
        for value in values:
            program.tell(f"label key {value} 1 1000")
        for target in ("/", "/debug/pprof/", "/metrics", "/memstats", "/debug/pprof/heap?debug=1", "/debug/pprof/<b>"):
            answer = program.ask(target)
            check_equal(answer.fields["X-Content-Type-Options"], "nosniff")
            check("Set-Cookie" not in answer.fields)
            if answer.fields["Content-Type"].startswith("text/html"):
                check(not any(value in answer.text for value in values[:2]), target)
            else:
                check(answer.fields["Content-Type"].startswith(("text/plain", "application/json")), target)
            check("\x1b" not in answer.text and "\x01" not in answer.text, target, "has control characters")


@case
def the_answers_have_no_content_of_memory_and_no_secrets():
    secret = "hunter2-in-the-environment"
    with Program(settings={"SECRET": secret, "HALLOC_MEMPROFILERATE": "1"}) as program:
        program.tell(f"label key value 10 1000")
        for target in ("/", "/metrics", "/memstats", "/debug/pprof/", "/debug/pprof/heap?debug=1", "/pprof/cmdline",
                       "/debug/pprof/cmdline", "/debug/pprof/symbol?0x1"):
            check(secret.encode() not in program.ask(target).body, target)


@case
def raised_privileges_ignore_the_environment():
    if os.geteuid() != 0 or os.statvfs(WORK).f_flag & os.ST_NOSUID:
        raise Skipped("only root can make a setuid program, where mounts allow it")
    os.chmod(WORK, 0o755)
    # ld.so does not take halloc from where it was built for such a program, so this one carries it inside.
    program = os.path.join(WORK, "setuid")
    shutil.copy(STATIC_PROGRAM, program)
    os.chmod(program, 0o4755)
    settings = ["HALLOC_HTTP=:0", "HALLOC_HTTP_TOKEN=", "HALLOC_MEMPROFILE=/dev/null/profile", "HALLOC_MEMSTATS=1"]
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "env", *settings, program], input=b"address\n",
                          capture_output=True, timeout=30)
    if done.returncode != 0:
        raise Failed(f"status {done.returncode}: {done.stderr.decode()[-300:]}")
    check_equal(done.stdout.decode().split(), ["none", ".", "none", "."])
    check_equal(done.stderr.decode(), "")
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", program, ":0"], capture_output=True, timeout=30)
    check_equal(done.stdout.decode().split(), ["EPERM"])


@case
def a_profile_at_exit_follows_no_link():
    path, target = os.path.join(WORK, "profile"), os.path.join(WORK, "victim")
    plants = {"a link": lambda name: os.symlink(target, name), "a hard link": lambda name: os.link(target, name),
              "a fifo": os.mkfifo, "a link to nothing": lambda name: os.symlink(target + "2", name),
              "nothing": lambda name: None}
    for what, plant in plants.items():
        for suffix in ("", ".{pid}.tmp"):
            with open(target, "w") as file:
                file.write("mine")
            program = Program(None, {"HALLOC_MEMPROFILE": path})
            old = os.umask(0)
            plant(path + suffix.format(pid=program.pid))
            check_equal(program.end(), 0)
            os.umask(old)
            check_equal(open(target).read(), "mine", f"the file behind {what} at the name{suffix}")
            check(not os.path.lexists(target + "2"), "it was made through a link")
            status = os.lstat(path)
            check(stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600, what, oct(status.st_mode))
            check(open(path, "rb").read(2) == b"\x1f\x8b", "it is no profile")
            check_equal([name for name in os.listdir(WORK) if name.startswith("profile.")], [], "what is left")
            os.unlink(path)
    os.mkdir(path)
    program = Program(None, {"HALLOC_MEMPROFILE": path})
    check_equal(program.end(), 0)
    check_equal(program.errors, f"halloc: HALLOC_MEMPROFILE={path}: the profile could not be written: Is a directory\n")
    check_equal(os.listdir(path), [])


@case
def a_unix_socket_is_its_users_alone():
    path = os.path.join(WORK, "socket")
    old = os.umask(0)
    try:
        with Program("unix:" + path) as program:
            check_equal(program.address, "unix:" + path)
            check_equal(oct(stat.S_IMODE(os.lstat(path).st_mode)), oct(0o600), "the permissions")
            check_equal(os.listdir(WORK).count("socket"), 1)
            check([name for name in os.listdir(WORK) if name.startswith("socket.")] == [], "the first name is left")
            for host in ("localhost", "anything", ""):
                check_equal(program.ask("/metrics", host=host).status, 200)
            check_equal(program.ask("/metrics", fields={"Origin": "http://evil.example"}).status, 403)
            run("curl", "-sf", "--unix-socket", path, "http://halloc/memstats")
    finally:
        os.umask(old)
    check(not os.path.lexists(path), "it is left behind")


@case
def a_stale_unix_socket_is_replaced_and_nothing_else():
    path = os.path.join(WORK, "stale")
    killed = Program("unix:" + path)
    killed.process.kill()
    killed.process.wait()
    check(os.path.lexists(path), "it is gone")
    with Program("unix:" + path) as first:
        check_equal(first.ask("/memstats").status, 200)
        bind("unix:" + path, error="EADDRINUSE")  # somebody listens
        check_equal(first.ask("/memstats").status, 200)
        os.unlink(path)
        with open(path, "w") as file:
            file.write("mine")
    check_equal(open(path).read(), "mine", "a file that took the name")
    bind("unix:" + path, error="EADDRINUSE")  # a file
    check_equal(open(path).read(), "mine")
    os.unlink(path)
    target = os.path.join(WORK, "target")
    os.symlink(target, path)
    bind("unix:" + path, error="EADDRINUSE")  # a link that leads nowhere
    check(not os.path.lexists(target), "it followed the link")
    os.unlink(path)
    os.mkfifo(path)
    bind("unix:" + path, error="EADDRINUSE")
    check(stat.S_ISFIFO(os.lstat(path).st_mode))
    os.unlink(path)
    other = socket.socket(socket.AF_UNIX)
    other.bind(path)  # another user's, and nobody listens
    os.chown(path, 65534, 65534)
    other.close()
    bind("unix:" + path, error="EADDRINUSE")
    check(stat.S_ISSOCK(os.lstat(path).st_mode))
    bind("unix:" + os.path.join(WORK, "no", "such"), error="ENOENT")


main()
