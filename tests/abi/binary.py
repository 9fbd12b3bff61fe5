#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Looks at the built library as ld.so and linkers see it.

What could break a user here: an allocation function of libc's that slips past us (two heaps in one process),
a private name that shadows the program's, a library that cannot be loaded late or under hardening, exceptions
that pass through the wrong unwinder.

usage: binary.py LIBRARY SOURCE_ROOT BUILD_ROOT MIMALLOC_LIBRARY
"""
import os
import re
import subprocess
import sys

LIBRARY, ROOT, BUILD, MIMALLOC = sys.argv[1:5]
TLS_MAX = 64  # of the roughly 512 optional bytes that glibc keeps for libraries loaded late
failed = False


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(name, problem):
    global failed
    failed |= bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok {name}", flush=True)


def exported(library):
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    names = {line.split()[-1] for line in lines if line.split()[-2] != "A"}
    return {name.split("@")[0] for name in names}, names


def differences(actual, expected):
    more, less = sorted(actual - expected), sorted(expected - actual)
    parts = [more and f"unexpected: {' '.join(more)}", less and f"missing: {' '.join(less)}"]
    return "; ".join(filter(None, parts))


def check_symbols():
    with open(f"{ROOT}/halloc.map") as file:
        public = set(re.findall(r"\b(hp_\w+);", file.read()))
    with open(f"{ROOT}/libc.symbols") as file:
        replaced = {line.split()[0] for line in file if line.strip() and not line.startswith("#")}
    names, versioned = exported(LIBRARY)
    check("exports_are_those_listed_and_no_others", differences(names, public | replaced))
    bad = [n for n in versioned if n.startswith("hp_") and not re.search(r"@@HALLOC_\d", n)]
    bad += [n for n in versioned if not n.startswith("hp_") and "@" in n]
    check("public_names_have_a_version_and_replaced_ones_none", " ".join(sorted(bad)))
    with open(f"{ROOT}/include/halloc.h") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    inline = set(re.findall(r"static inline [^;{]*?(hp_\w+)\(", text))
    declared = set(re.findall(r"\b(hp_\w+)\s*\(", text)) - inline
    ours = {name for name in names if name.startswith("hp_")}
    check("the_header_declares_what_is_exported", differences(ours, declared))
    if os.path.exists(MIMALLOC):
        theirs = {n for n in exported(MIMALLOC)[0] if not re.match(r"_?mi_", n)}
        check("nothing_that_mimalloc_replaces_is_left_out", " ".join(sorted(theirs - names)))
    else:
        print("skip nothing_that_mimalloc_replaces_is_left_out: no libmimalloc.so.2.0")


def check_dynamic():
    dynamic = run("readelf", "-dW", LIBRARY)
    check("soname", "" if "[libhalloc.so.0]" in dynamic else "not libhalloc.so.0")
    check("no_text_relocations", "TEXTREL" if "TEXTREL" in dynamic else "")
    check("bound_at_start", "" if re.search(r"FLAGS_1\).*\bNOW\b", dynamic) else "no -z now")
    check("never_unloaded", "" if re.search(r"FLAGS_1\).*\bNODELETE\b", dynamic) else "no -z nodelete")
    check("no_run_path", "RUNPATH" if re.search(r"\((RPATH|RUNPATH)\)", dynamic) else "")
    segments = run("readelf", "-lW", LIBRARY)
    check("relocations_are_read_only", "" if "GNU_RELRO" in segments else "no -z relro")
    check("the_stack_is_not_executable", "" if re.search(r"GNU_STACK.* RW ", segments) else "it is")
    tls = re.search(r"^\s*TLS\s+(?:0x\w+\s+){4}(0x\w+)", segments, re.M)
    size = int(tls.group(1), 16) if tls else 0
    check("thread_local_storage_is_small", "" if 0 < size <= TLS_MAX else f"{size} bytes, at most {TLS_MAX}")
    relocations = run("readelf", "-rW", LIBRARY)
    dynamic_tls = re.findall(r"R_\w*(?:DTPMOD|DTPREL|TLSDESC)\w*", relocations)
    check("thread_local_storage_is_initial_exec", " ".join(sorted(set(dynamic_tls))))
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    check("no_other_unwinder_comes_before_libgccs", unwinder_problem(needed))


def unwinder_problem(needed):
    paths = dict(re.findall(r"(\S+) => (\S+)", run("ldd", LIBRARY)))
    for name in needed:
        path = paths.get(name)
        if name.startswith("libgcc_s.so"):
            return ""
        if path and any(n.startswith("_Unwind_") for n in exported(path)[0]):
            return f"{name} comes before libgcc_s and exports _Unwind_*"
    return ""


def check_pkg_config():
    path = f"{BUILD}/meson-private"
    environment = dict(os.environ, PKG_CONFIG_PATH=path)
    try:
        flags = subprocess.run(["pkg-config", "--libs", "--cflags", "halloc"], env=environment, check=True,
                               capture_output=True, text=True).stdout
    except FileNotFoundError:
        print("skip pkg_config: no pkg-config")
        return
    except subprocess.CalledProcessError as error:
        check("pkg_config", error.stderr)
        return
    with open(f"{ROOT}/include/halloc.h") as file:
        version = re.search(r'HP_VERSION "(.*)"', file.read()).group(1)
    query = ["pkg-config", f"--exact-version={version}", "halloc"]
    same = subprocess.run(query, env=environment).returncode == 0
    problem = "" if "-lhalloc" in flags.split() else f"flags are {flags}"
    check("pkg_config", problem or ("" if same else f"its version is not the header's, {version}"))


check_symbols()
check_dynamic()
check_pkg_config()
sys.exit(failed)
