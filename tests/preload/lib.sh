# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Shared by the scripts of this directory: runs a program without halloc and under it, and compares what it did.
#
# A script is called as `script LIBHALLOC_PATH`. It begins with `begin "$@"` and ends with `finish`; in between its
# cases print `ok NAME` or `FAIL NAME: reason`. All files live in $work, which is removed at exit along with every
# server that was started.
#
# Modes: plain (no preload), default (preload, default rate), 4096 (preload, that rate, and a profile per process).
# The preload reaches the whole process tree; the tools of the tests themselves run without it.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly python=/usr/bin/python3
readonly go=/usr/bin/go
modes=(plain default 4096)
readonly run_limit_s=60 poll_s=0.05
library=''
work=''
failed=0
servers=()

begin() {
  if [[ $# -ne 1 || ! -r $1 ]]; then
    echo "usage: $0 LIBHALLOC_PATH" >&2
    exit 2
  fi
  # The settings of the user's shell must reach neither side.
  unset LD_PRELOAD "${!HALLOC_@}" "${!MALLOC_@}" GLIBC_TUNABLES
  export LC_ALL=C TZ=UTC CCACHE_DISABLE=1
  work=$(mktemp -d "${TMPDIR:-/tmp}/halloc-preload.XXXXXX") || exit 2
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  export HOME=$work TMPDIR=$work PPROF_TMPDIR=$work PPROF_BINARY_PATH=$work
  # A copy that every user can read, since servers drop privileges, with the libraries that it loads from its side.
  chmod 711 "$work"
  mkdir "$work/bin"
  library=$work/lib/libhalloc.so
  mkdir -m 755 "$work/lib"
  local companion
  for companion in "$(dirname "$1")"/libhalloc-*.so.[0-9]; do
    [[ ! -e $companion ]] || install -m 755 "$companion" "$work/lib"
  done
  install -m 755 "$1" "$library"
  cd "$work" || exit 2
  require readelf binutils
  require "$go" golang-go
  require "$python" python3
  [[ $failed -eq 0 ]] || exit 1
  check_preload_works
}

finish() {
  exit "$failed"
}

clean_up() {
  local pid
  for pid in "${servers[@]}"; do kill -KILL "$pid" 2>/dev/null; done
  wait 2>/dev/null
  [[ -z $work ]] || rm -rf "$work"
}

ok() {
  echo "ok $1"
}

fail() {
  echo "FAIL $1: $2"
  failed=1
}

# require PROGRAM PACKAGE: a missing program is a failure, never a silent skip.
require() {
  command -v "$1" >/dev/null && return 0
  fail "require_${1##*/}" "$1 is not installed; it is in the Debian package $2"
  return 1
}

# ld.so only warns about a library it cannot load, and then every comparison would be of glibc with itself.
check_preload_works() {
  if ! LD_PRELOAD=$library grep -q "$library" /proc/self/maps 2>"$work/preload.err" || [[ -s $work/preload.err ]]; then
    fail preload "the library does not load: $(head -n 1 "$work/preload.err")"
    exit 1
  fi
}

# ---- running ----

# use_mode MODE NAME: sets `settings`, the environment of the programs under test, as words for env(1).
settings=()
use_mode() {
  case $1 in
    plain) settings=() ;;
    default) settings=("LD_PRELOAD=$library") ;;
    default-profile) settings=("LD_PRELOAD=$library" "HALLOC_MEMPROFILE=$work/$2/profiles/%p.pb.gz") ;;
    *) settings=("LD_PRELOAD=$library" "HALLOC_MEMPROFILERATE=$1"
      "HALLOC_MEMPROFILE=$work/$2/profiles/%p.pb.gz") ;;
  esac
}

# run_in MODE NAME COMMAND...: runs in a directory of its own, where it leaves `out`, `err` and `status`.
run_in() {
  local mode=$1 name=$2 directory=$work/$2/$1
  shift 2
  use_mode "$mode" "$name"
  mkdir -p "$directory" "$work/$name/profiles"
  (
    cd "$directory" || exit
    timeout -k 5 "$run_limit_s" env "${settings[@]}" "$@" >out 2>err </dev/null
    echo $? >status
  )
}

# run_both NAME COMMAND...: in every mode.
run_both() {
  local name=$1 mode
  shift
  for mode in "${modes[@]}"; do run_in "$mode" "$name" "$@"; done
}

# expect_same NAME [FILE...]: every mode left the same status, output and files, and halloc said nothing. The plain
# run must have worked: two failures alike prove nothing.
expect_same() {
  local name=$1 mode file
  shift
  local plain=$work/$name/plain
  if [[ $(cat "$plain/status") -ne 0 ]]; then
    fail "$name" "status $(cat "$plain/status") without halloc: $(tail -n 1 "$plain/err")"
    return 1
  fi
  for mode in "${modes[@]:1}"; do
    for file in status err out "$@"; do
      if ! cmp -s "$plain/$file" "$work/$name/$mode/$file"; then
        fail "$name" "$mode: $file differs: $(first_difference "$plain/$file" "$work/$name/$mode/$file")"
        return 1
      fi
    done
    expect_silence "$name" "$work/$name/$mode/out" "$work/$name/$mode/err" || return 1
  done
  ok "$name"
}

first_difference() {
  if [[ $1 == *status ]]; then
    echo "$(cat "$1") became $(cat "$2"): $(tail -qn 1 "${2%status}out" "${2%status}err" | cut -c 1-200 | tr '\n' ' ')"
  else
    diff -a "$1" "$2" | sed -n '2p;3q' | cut -c 1-200
  fi
}

# expect_silence NAME FILE...: halloc has nothing to say about a healthy program, nor has ld.so about halloc.
expect_silence() {
  local name=$1 line
  shift
  line=$(grep -ahE -m 1 '^halloc:|^ERROR: ld\.so' "$@")
  [[ -z $line ]] && return 0
  fail "$name" "in the output: $line"
  return 1
}

# ---- servers ----

# start_server LOG COMMAND...: in the background, with the mode's environment; its id is in `server`.
server=''
start_server() {
  local log=$1
  shift
  # An argument list of env would be one more process between us and the server without exec.
  (exec env "${settings[@]}" "$@") >"$log" 2>&1 </dev/null &
  server=$!
  servers+=("$server")
}

# wait_for SECONDS COMMAND...: polls until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep "$poll_s"
  done
}

is_gone() {
  ! kill -0 "$1" 2>/dev/null
}

# await_end PID: the exit status of a server that was told to stop, 124 if it stays.
await_end() {
  if ! wait_for 20 is_zombie_or_gone "$1"; then
    kill -KILL "$1"
    wait "$1" 2>/dev/null
    return 124
  fi
  wait "$1" 2>/dev/null
}

is_zombie_or_gone() {
  is_gone "$1" || grep -q '^State:.Z' "/proc/$1/status"
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ---- profiles ----

# expect_profiles NAME LEAST PATTERN: the 4096 run left at least so many profiles, each of them valid to the strict
# reader and to pprof; a function name matches the pattern and no frame is the library's.
expect_profiles() {
  local name=$1 least=$2 pattern=$3
  local files=("$work/$name/profiles"/*.pb.gz)
  if [[ ! -e ${files[0]} || ${#files[@]} -lt $least ]]; then
    fail "${name}_profiles" "$([[ -e ${files[0]} ]] && echo ${#files[@]} || echo no) files, expected $least"
    return 1
  fi
  local others
  others=$(find "$work/$name/profiles" -mindepth 1 ! -name '*.pb.gz' | head -n 1)
  if [[ -n $others ]]; then
    fail "${name}_profiles" "left behind: $others"
    return 1
  fi
  expect_valid "${name}_profiles" "$pattern" "${files[@]}" && ok "${name}_profiles"
}

# expect_valid NAME PATTERN FILE...: every problem is reported, since each is another one's break.
expect_valid() {
  local name=$1 pattern=$2 largest own before=$failed
  shift 2
  failed=0
  "$python" "$here/read_profile.py" --names "$@" >"$work/totals" 2>"$work/totals.err" ||
    fail "$name" "$(head -n 1 "$work/totals.err")"
  # pprof's own symbolization, on the largest file: it must get along with the names that are there.
  # shellcheck disable=SC2012
  largest=$(ls -S "$@" | head -n 1)
  if ! run_pprof -top "$largest" || [[ $(grep -c 'flat%' "$work/pprof.out") -ne 1 ]]; then
    fail "$name" "go tool pprof -top: $(head -n 1 "$work/pprof.err")"
  fi
  if ! run_pprof -raw -symbolize=none "$@" || grep -qiE 'error|fetched [0-9]+ source' "$work/pprof.err"; then
    fail "$name" "go tool pprof -raw: $(grep -iE -m 1 'error|fetched' "$work/pprof.err")"
  fi
  own=$(grep -aE -m 1 'libhalloc|M=[0-9]+ (ha|hp)_' "$work/pprof.out")
  [[ -z $own ]] || fail "$name" "a frame of the library: $own"
  grep -qaE "M=[0-9]+ ($pattern)" "$work/pprof.out" || fail "$name" "no function name matches $pattern"
  local status=$failed
  failed=$((failed | before))
  return "$status"
}

run_pprof() {
  timeout "$run_limit_s" "$go" tool pprof "$@" >"$work/pprof.out" 2>"$work/pprof.err"
}
