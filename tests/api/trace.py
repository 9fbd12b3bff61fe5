#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Reads a trace as JSON and compares it with what the program did (trace.c).

What could break a user here: a file that no viewer opens, events that are missing or of another thread, a trace that is
cut without a word.

usage: trace.py PROGRAM
"""
import json
import re
import subprocess
import sys
import tempfile

EVENTS_MAX = 65536
failed = False


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def take(work, drops):
    path = f"{work}/trace{drops}.json"
    subprocess.run([sys.argv[1], path, str(drops)], check=True, timeout=60)
    with open(path) as file:
        return json.load(file)


def events(trace, name):
    return [event for event in trace["traceEvents"] if event["name"] == name]


def has(event, function):
    return function in event["args"].get("stack", "").split(";")


def look(trace):
    names = {event["tid"]: event["args"]["name"] for event in events(trace, "thread_name")}
    begins, ends = events(trace, "thread begins"), events(trace, "thread ends")
    short = [event for event in begins if has(event, "starts_threads")]
    check("threads_begin_where_they_were_created", "" if len(short) == 3 else begins)
    check("threads_end", "" if {event["tid"] for event in short} <= {event["tid"] for event in ends} else ends)
    check("ended_threads_have_their_names", "" if {names.get(event["tid"]) for event in short} == {'short "one"'} else names)
    check("live_threads_have_their_names", "" if "worker" in names.values() else names)
    allocs = [event for event in events(trace, "alloc") if has(event, "allocates")]
    by_thread = {event["tid"]: 0 for event in short}
    for event in allocs:
        by_thread[event["tid"]] = by_thread.get(event["tid"], 0) + 1
    check("every_allocation_is_there", "" if [by_thread[event["tid"]] for event in short] == [10] * 3 else by_thread)
    check("allocations_have_size_and_weight", "" if all(event["args"]["bytes"] == 3072 and event["args"]["objects"] == 1
                                                        for event in allocs) else allocs[:2])
    check("allocations_have_labels", "" if all(event["args"].get("label.handler") == "a\\b" for event in allocs) else
          allocs[:2])
    released = sum(event["args"]["bytes"] for event in events(trace, "memory given back"))
    check("memory_given_back", "" if released > 0 else "none")
    wait = [event for event in events(trace, "wait") if event["dur"] == 5000]
    check("a_wait_has_its_length", "" if len(wait) == 1 and wait[0]["ph"] == "X" else events(trace, "wait"))
    limits = events(trace, "memory limit met")
    check("the_limit_was_met", "" if limits and all(event["args"]["limit"] == 4 << 20 for event in limits) else limits)
    times = [event["ts"] for event in trace["traceEvents"] if "ts" in event]
    check("times_are_within_the_trace", "" if times and min(times) >= 0 and max(times) < 60e6 else f"{times[:3]}")
    check("one_process", "" if len({event["pid"] for event in trace["traceEvents"]}) == 1 else "several")


def main():
    with tempfile.TemporaryDirectory() as work:
        look(take(work, 0))
        full = take(work, 1)
        count = sum("ts" in event for event in full["traceEvents"])
        dropped = re.search(r"dropped=(\d+)", " ".join(full["otherData"].values()))
        check("a_full_trace_says_what_it_lost", "" if count == EVENTS_MAX and int(dropped[1]) >= 10 * 10000 - EVENTS_MAX else
              f"{count} events, {dropped}")
    return failed


sys.exit(main())
