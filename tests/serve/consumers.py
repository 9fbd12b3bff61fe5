#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What could break a user here: a port that looks right but that `go tool pprof`, google-pprof or Prometheus cannot use, or
that gives them other numbers than the program has.

usage: consumers.py PROGRAM LIBHALLOC
"""
import os
import re
import time

from server import WORK, Answer, Program, check, check_equal, case, main, receive_all, run, wait_until

GO = "/usr/bin/go"
MIB = 1 << 20
METRICS = """halloc_heap_alloc_bytes halloc_heap_inuse_bytes halloc_heap_idle_bytes halloc_heap_released_bytes
halloc_heap_sys_bytes halloc_heap_objects halloc_alloc_bytes_total halloc_mallocs_total halloc_frees_total
halloc_sys_bytes halloc_memory_limit_exceeded_total halloc_released_bytes_total halloc_release_cpu_seconds_total
halloc_profile_rate_bytes halloc_profile_samples_total halloc_profile_samples_dropped_total halloc_profile_live_samples
halloc_profile_stacks halloc_profile_memory_bytes halloc_threads halloc_build_info process_cpu_seconds_total
process_start_time_seconds process_resident_memory_bytes process_virtual_memory_bytes process_virtual_memory_max_bytes
process_open_fds process_max_fds""".split()


def pprof(*arguments):
    return run(GO, "tool", "pprof", *arguments)


def bytes_of(text, function):
    """Flat bytes in the output of pprof -top -unit=B; None: there is no such line."""
    found = re.search(rf"^ *(-?[\d.]+)B?\s+\S+%?\s+\S+%\s+-?[\d.]+B?\s+\S+%\s+{function}\b", text, re.M)
    return float(found.group(1)) if found else None


def expect_bytes(text, function, expected, what):
    """At rate 1 every block is recorded, so numbers are exact, up to what pprof prints of them."""
    found = bytes_of(text, function)
    check(found is not None and abs(found - expected) <= abs(expected) / 1000, what, function, found, "not", expected,
          text)


EXACT = {"HALLOC_MEMPROFILERATE": "1"}


@case
def pprof_reads_heap_and_allocs_by_url():
    with Program(settings=EXACT) as program:
        program.tell("alloc 1000 1024")
        program.tell("churn 4096")
        for name, type_ in (("heap", "inuse_space"), ("allocs", "alloc_space")):
            text = pprof("-top", "-unit=B", program.url(f"/debug/pprof/{name}"))
            check(f"Type: {type_}" in text, text)
            expect_bytes(text, "keep_blocks", 1000 * 1024, name)
        text = pprof("-top", "-unit=B", program.url("/debug/pprof/allocs"))
        check(bytes_of(text, "churn_blocks") > 4096 * 2048, text)
        check(bytes_of(pprof("-top", "-unit=B", program.url("/debug/pprof/heap")), "churn_blocks") is None, "freed, but there")
        text = pprof("-top", "-unit=B", "-sample_index=alloc_objects", program.url("/debug/pprof/heap"))
        check("Type: alloc_objects" in text, text)
        text = pprof("-raw", program.url("/debug/pprof/heap"))
        check("alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes" in text, text[:500])
        # By what remains without the symbol tables: it asks the port for names where it has none.
        text = pprof("-top", "-unit=B", "-symbolize=remote", program.url("/debug/pprof/heap"))
        expect_bytes(text, "keep_blocks", 1000 * 1024, "with names by the port")


@case
def pprof_compares_two_moments():
    with Program(settings=EXACT) as program:
        program.tell("alloc 1000 1024")
        first = os.path.join(WORK, "first.pb.gz")
        with open(first, "wb") as file:
            file.write(program.ask("/debug/pprof/heap").body)
        program.tell("alloc 500 1024")
        for option in ("-base", "-diff_base"):
            text = pprof("-top", "-unit=B", option, first, program.url("/debug/pprof/heap"))
            expect_bytes(text, "keep_blocks", 500 * 1024, option)
            text = pprof("-top", "-unit=B", f"{option}={program.url('/debug/pprof/heap')}", first)
            expect_bytes(text, "keep_blocks", -500 * 1024, option + " the other way")


@case
def pprof_selects_by_label():
    with Program(settings=EXACT) as program:
        program.tell("label tenant acme 100 1024")
        program.tell("label tenant other 300 1024")
        program.tell("alloc 50 1024")
        for focus, blocks in (("tenant=acme", 100), ("tenant=other", 300), ("tenant=acme,other", 400)):
            text = pprof("-top", "-unit=B", f"-tagfocus={focus}", program.url("/debug/pprof/heap"))
            expect_bytes(text, "keep_blocks", blocks * 1024, focus)
        check("acme" in pprof("-tags", program.url("/debug/pprof/heap")), "no tags")


@case
def deltas_show_the_change_in_all_four_values():
    with Program(settings=EXACT) as program:
        program.tell("alloc 1000 1024")
        with program.connect() as waiting:
            waiting.sendall(f"GET /debug/pprof/heap?seconds=1 HTTP/1.1\r\nHost: {program.address}\r\n"
                            "Connection: close\r\n\r\n".encode())
            # Asked later, so answered when the first state has been taken.
            check_equal(program.ask("/memstats").status, 200)
            program.tell("alloc 200 1024")
            program.tell("drop 700")
            answer = Answer(receive_all(waiting))
        path = os.path.join(WORK, "delta.pb.gz")
        with open(path, "wb") as file:
            file.write(answer.body)
        for index, expected in (("alloc_space", 200 * 1024), ("inuse_space", -500 * 1024)):
            expect_bytes(pprof("-top", "-unit=B", f"-sample_index={index}", path), "keep_blocks", expected, index)
        raw = pprof("-raw", path)
        check(re.search(r"^Duration: 1\.\d", raw, re.M), "no duration:", raw[:400])
        check("keep_blocks" not in pprof("-top", program.url("/debug/pprof/heap?seconds=1")), "a change where none was")


@case
def pprof_reads_every_profile_of_the_index():
    with Program(settings=EXACT) as program:
        program.tell("alloc 100 1024")
        names = set(re.findall(r"<a href='(\w+)\?debug=1'>", program.ask("/debug/pprof/").text))
        for name in sorted(names - {"cmdline", "symbol", "profile", "trace"}):
            check("Samples:" in pprof("-raw", program.url(f"/debug/pprof/{name}")), name)


@case
def delta_heap_shows_what_was_allocated_since_the_last_request():
    with Program(settings=EXACT) as program:
        program.tell("alloc 100 1024")
        check_equal(program.ask("/debug/pprof/delta_heap").status, 200)
        program.tell("alloc 50 1024")
        path = os.path.join(WORK, "delta_heap.pb.gz")
        with open(path, "wb") as file:
            file.write(program.ask("/debug/pprof/delta_heap").body)
        for index, blocks in (("alloc_space", 50), ("inuse_space", 150)):
            text = pprof("-top", "-unit=B", "-nodefraction=0", f"-sample_index={index}", path)
            expect_bytes(text, "keep_blocks", blocks * 1024, index)


@case
def pprof_reads_where_processor_time_goes():
    with Program() as program:
        program.tell("burn")
        text = pprof("-top", "-seconds", "1", program.url("/debug/pprof/profile"))
        check("Type: cpu" in text and "Duration: 1" in text, text)
        found = re.search(r"^ *\S+ +([\d.]+)% .* burn_time$", text, re.M)
        # The only thread that does anything; the port's own work is in the rest.
        check(found and float(found.group(1)) > 80, text)


@case
def pprof_reads_what_threads_do():
    with Program() as program:
        program.tell("burn")
        for name in ("goroutine", "threads"):
            check("burn_time" in pprof("-top", program.url(f"/debug/pprof/{name}")), name)
            check(program.ask(f"/debug/pprof/{name}?debug=2").text.startswith("goroutine "), name)


@case
def pprof_passes_seconds_on():
    with Program(settings=EXACT) as program:
        began = time.monotonic()
        text = pprof("-top", "-seconds", "1", program.url("/debug/pprof/allocs"))
        check(time.monotonic() - began >= 1 and "Duration: 1" in text, text)


@case
def pprof_shows_what_an_error_says():
    with Program() as program:
        done = run("/bin/sh", "-c", f"{GO} tool pprof -top {program.url('/debug/pprof/heap?seconds=x')} 2>&1; true")
        check("must be a positive integer" in done, done)


@case
def google_pprof_reads_the_legacy_page():
    with Program() as program:
        program.tell("alloc 20000 1024")
        text = run("google-pprof", "--text", program.url("/pprof/heap"))
        found = re.search(r"^ *([\d.]+)\s+\S+%\s+\S+%\s+[\d.]+\s+\S+%\s+keep_blocks", text, re.M)
        check(found, text)
        # It scales by the rate. Some 40 samples estimate 20 MB to 16 %; five times that is 80 %.
        check(0.2 < float(found.group(1)) * MIB / (20000 * 1024) < 1.8, text)


def metrics_of(program):
    text = program.ask("/metrics").text
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            check(name not in values, name, "comes twice")
            values[name] = float(value)
    return text, values


@case
def metrics_are_clean_and_agree_with_the_statistics():
    with Program(settings={**EXACT, "HALLOC_BACKGROUND": "0"}) as program:
        program.tell("alloc 1000 1000")
        text, values = metrics_of(program)
        check_equal(program.ask("/metrics").fields["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        run("promtool", "check", "metrics", input=text.encode())
        families = re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", text, re.M)
        check_equal(sorted(families), sorted(METRICS), "the names")
        check_equal(values["halloc_heap_sys_bytes"], values["halloc_heap_inuse_bytes"] + values["halloc_heap_idle_bytes"])
        check_equal(values["halloc_heap_objects"], values["halloc_mallocs_total"] - values["halloc_frees_total"])
        check(values["halloc_profile_live_samples"] >= 1000, values)
        before = program.stats()
        program.tell("alloc 1000 1000")
        after, (_, later) = program.stats(), metrics_of(program)
        check_equal(later["halloc_mallocs_total"], after["Mallocs"], "mallocs, with nothing between")
        check_equal(after["Mallocs"] - before["Mallocs"], 1000, "blocks of 1000 and of nobody else")
        check(all(later[name] >= values[name] for name in values if "_total" in name), "a counter fell")
        with open(f"/proc/{program.pid}/stat") as file:
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
        with open("/proc/uptime") as file:
            age = float(file.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
        check(abs(time.time() - age - values["process_start_time_seconds"]) < 1, values["process_start_time_seconds"])
        check_equal(later["process_start_time_seconds"], values["process_start_time_seconds"], "the start time")
        with open(f"/proc/{program.pid}/statm") as file:
            resident = int(file.read().split()[1]) * 4096
        check(abs(values["process_resident_memory_bytes"] - resident) < 8 * MIB, values, resident)
        check(0 < values["process_cpu_seconds_total"] < 60, values["process_cpu_seconds_total"])


@case
def open_descriptors_are_counted_as_the_kernel_does():
    def count():
        return len(os.listdir(f"/proc/{program.pid}/fd"))

    # The background thread opens files of /proc for a moment.
    with Program(settings={"HALLOC_BACKGROUND": "0"}) as program:
        rest = count()
        for _ in range(20):
            _, values = metrics_of(program)
            check_equal(values["process_open_fds"], rest + 1, "the number, with the connection,")
            wait_until(lambda: count() == rest, "the connection is closed")


@case
def the_limit_is_a_metric_only_if_there_is_one():
    with Program(settings={"HALLOC_MEMLIMIT": "900MiB"}) as program:
        _, values = metrics_of(program)
        check_equal(values["halloc_memory_limit_bytes"], 900 * MIB)
        text = program.ask("/metrics").text
        run("promtool", "check", "metrics", input=text.encode())


main()
