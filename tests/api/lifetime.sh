#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs lifetime.c preloaded and linked, sampling nothing and everything, and loads the library late into
# programs that were started without it.
#
# usage: lifetime.sh PROGRAM_WITHOUT_HALLOC PROGRAM_WITH_HALLOC LIBRARY PLUGIN
set -eu
bare=$1 linked=$2 library=$(realpath "$3") plugin=$(realpath "$4")
unset LD_PRELOAD HALLOC_MEMPROFILERATE
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s\n' preinit constructor thread 'thread destructor' plugin atexit destructor >"$work/expected"
failed=0

# check NAME COMMAND...: prints the expected lines, exits with 0, says nothing on stderr.
check() {
  name=$1
  shift
  status=0
  timeout 60 env "$@" >"$work/out" 2>"$work/err" || status=$?
  if [ $status -eq 0 ] && cmp -s "$work/out" "$work/expected" && [ ! -s "$work/err" ]; then
    echo "ok $name"
  else
    echo "FAIL $name: exit $status; printed: $(tr '\n' ' ' <"$work/out"); stderr: $(head -c 500 "$work/err")"
    failed=1
  fi
}

for rate in 0 1 524288; do
  check "preloaded_at_rate_$rate" HALLOC_MEMPROFILERATE=$rate LD_PRELOAD="$library" "$bare" "$plugin"
  check "linked_at_rate_$rate" HALLOC_MEMPROFILERATE=$rate "$linked" "$plugin"
done

# late NAME PYTHON: a program that was started without the library loads it.
late() {
  if ! command -v python3 >/dev/null; then
    echo "skip $1: no python3"
  elif timeout 60 python3 -c "import ctypes, os, sys, threading
library = sys.argv[1]
$2" "$library" >"$work/out" 2>&1; then
    echo "ok $1"
  else
    echo "FAIL $1: exit $?: $(tail -c 300 "$work/out")"
    failed=1
  fi
}

late loaded_late_it_does_no_harm '
lib = ctypes.CDLL(library)
lib.hp_set_mem_profile_rate.argtypes = [ctypes.c_int64]
assert lib.hp_set_mem_profile_rate(1) == 524288
lib.malloc.restype = ctypes.c_void_p
lib.free.argtypes = [ctypes.c_void_p]
for size in (1, 100, 5000, 200000, 50000000):
  for i in range(20):
    lib.free(lib.malloc(size))
fd = os.open("/dev/null", os.O_WRONLY)
assert lib.hp_write_heap_profile(fd) == 0
'
late loaded_late_by_a_thread_after_a_fork '
if os.fork() == 0:
  t = threading.Thread(target=lambda: ctypes.CDLL(library).hp_set_mem_profile_rate(1))
  t.start(); t.join()
  os._exit(0)
assert os.wait()[1] == 0
'
late loaded_globally_and_unloaded '
import _ctypes
for i in range(3):
  lib = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
  lib.malloc.restype = ctypes.c_void_p
  lib.malloc(100)
  _ctypes.dlclose(lib._handle)
threading.Thread(target=lambda: None).start()
'
exit $failed
