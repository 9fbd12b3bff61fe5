#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a program leaves behind that exceeds its memory limit: one line that names the functions with most live bytes,
# and a profile if one was asked for. Catches a line that blames the wrong function, comes twice or not at all, a
# profile that pprof cannot read or that a forked child writes over another's, and a process without a limit that
# loads the encoders all the same.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly report_s=30
# Some of the program's blocks, of 20 to 96 KiB, are sampled and some are not. At the 32 MiB where the line may come,
# the estimates of the two functions are apart by 9 standard deviations of their difference, later by more.
readonly rate=65536
readonly size='[0-9]+\.[0-9] MiB'
readonly excess="halloc: memory limit 32\\.0 MiB exceeded by $size; "
readonly rest='(, .*)? \([0-9]+ of [0-9]+\)'

# over NAME AWAITED PROGRAM HOW SETTING...: runs the program until it has written a line and the awaited file of
# `profiles` ('' for none) is there. Leaves `out`, `err` and `status`, all in the directory of the name.
over() {
  local name=$1 awaited=$2 program=$3 how=$4 directory=$work/$1 pid hold
  shift 4
  mkdir -p "$directory/profiles"
  mkfifo "$directory/in"
  (exec timeout -k 5 "$run_limit_s" env "LD_PRELOAD=$library" "HALLOC_MEMPROFILERATE=$rate" "$@" \
    "$work/bin/$program" "$how") <"$directory/in" >"$directory/out" 2>"$directory/err" &
  pid=$!
  servers+=("$pid")
  exec {hold}>"$directory/in"
  wait_for "$report_s" grep -q . "$directory/err"
  [[ -z $awaited ]] || wait_for "$report_s" has_file "$directory/profiles" "$awaited"
  exec {hold}>&-
  wait "$pid"
  echo $? >"$directory/status"
}

has_file() {
  compgen -G "$1/$2"
}

# expect_line NAME REGEX: the program ended well, and nothing but this line was written.
expect_line() {
  local name=$1 directory=$work/$1
  if [[ $(cat "$directory/status") -ne 0 ]]; then
    fail "$name" "status $(cat "$directory/status")"
  elif [[ ! -s $directory/err ]]; then
    fail "$name" "no line"
  elif [[ $(cat "$directory/out" "$directory/err" | wc -l) -ne 1 ]]; then
    fail "$name" "more than one line: $(cat "$directory/out" "$directory/err" | cut -c 1-200 | tr '\n' '|')"
  elif ! grep -qxE "$2" "$directory/err"; then
    fail "$name" "$(cat "$directory/err")"
  else
    ok "$name: $(cat "$directory/err")"
  fi
}

# expect_limit_profile NAME FILE...: exactly these files; the one of the limit is read by pprof, and the
# function with most live bytes is on top.
expect_limit_profile() {
  local name=$1 directory=$work/$1/profiles top
  shift
  if [[ $(ls "$directory") != "$(printf '%s\n' "$@")" ]]; then
    fail "${name}_profile" "files: $(ls "$directory" | tr '\n' ' ')"
    return
  fi
  expect_valid "${name}_profile" 'allocate_more' "$directory"/*.limit || return
  run_pprof -top -sample_index=inuse_space "$directory"/*.limit
  top=$(awk 'found { print $NF; exit } /flat%/ { found = 1 }' "$work/pprof.out")
  if [[ $top == allocate_more ]]; then
    ok "${name}_profile"
  else
    fail "${name}_profile" "go tool pprof has '$top' on top"
  fi
}

readonly sites="${excess}largest live sites: allocate_more $size, allocate_less $size$rest"

by_thread() {
  over by_thread one.limit over_limit plain HALLOC_MEMLIMIT=32MiB "HALLOC_MEMPROFILE=$work/by_thread/profiles/one"
  expect_line by_thread "$sites"
  expect_limit_profile by_thread one one.limit
}

in_malloc() {
  over in_malloc one.limit over_limit plain HALLOC_BACKGROUND=0 HALLOC_MEMLIMIT=32MiB \
    "HALLOC_MEMPROFILE=$work/in_malloc/profiles/one"
  expect_line in_malloc "$sites"
  expect_limit_profile in_malloc one one.limit
}

without_profile() {
  over without_profile '' over_limit plain HALLOC_MEMLIMIT=32MiB
  expect_line without_profile "$sites"
}

# Without the background thread, so that what the child writes is there when it goes on.
in_a_child() {
  local files
  over in_a_child '' over_limit fork HALLOC_BACKGROUND=0 HALLOC_MEMLIMIT=32MiB \
    "HALLOC_MEMPROFILE=$work/in_a_child/profiles/one"
  expect_line in_a_child "$sites"
  files=$(ls "$work/in_a_child/profiles")
  [[ $files == one ]] || fail in_a_child "files: ${files//$'\n'/ }, expected the one of the parent's end"
  over in_a_child_with_p '*.limit' over_limit fork HALLOC_BACKGROUND=0 HALLOC_MEMLIMIT=32MiB \
    "HALLOC_MEMPROFILE=$work/in_a_child_with_p/profiles/%p"
  expect_line in_a_child_with_p "$sites"
  files=$(ls "$work/in_a_child_with_p/profiles" | wc -l)
  [[ $files -eq 3 ]] || fail in_a_child_with_p "$files files, expected two of the end and one of the limit"
}

# Set by the program: the encoders are loaded when they are wanted, but not inside malloc.
set_late() {
  over set_late '' over_limit late
  expect_line set_late "$sites"
  over set_late_in_malloc '' over_limit late HALLOC_BACKGROUND=0
  expect_line set_late_in_malloc "${excess}sites unknown: libhalloc-pprof\\.so\\.0 is not loaded"
}

without_samples() {
  over profiling_off '' over_limit plain HALLOC_MEMLIMIT=32MiB HALLOC_MEMPROFILERATE=0
  expect_line profiling_off "${excess}no sites are known: profiling is off"
  # 2^40 bytes: at most one run in six thousand has a sample.
  over no_samples '' over_limit plain HALLOC_MEMLIMIT=32MiB HALLOC_MEMPROFILERATE=1099511627776
  expect_line no_samples "${excess}no samples"
}

# Without symbols the line says where addr2line is to look.
stripped() {
  local address name
  over stripped '' stripped plain HALLOC_MEMLIMIT=32MiB
  expect_line stripped "${excess}largest live sites: stripped\\+0x[0-9a-f]+ $size, stripped\\+0x[0-9a-f]+ $size$rest"
  address=$(grep -oE -m 1 '\+0x[0-9a-f]+' "$work/stripped/err" | head -n 1)
  name=$(addr2line -f -e "$work/bin/over_limit" "${address#+}" | head -n 1)
  [[ $name == allocate_more ]] || fail stripped "$address is in $name"
}

# A process without a limit does not load what the line needs.
libraries() {
  local needed='libhalloc-|libprotobuf-c|libz\.'
  env "LD_PRELOAD=$library" cat /proc/self/maps >"$work/maps"
  env "LD_PRELOAD=$library" HALLOC_MEMLIMIT=1GiB cat /proc/self/maps >"$work/maps.limit"
  if grep -qE "$needed" "$work/maps"; then
    fail libraries "loaded without a limit: $(grep -m 1 -E "$needed" "$work/maps")"
  elif ! grep -q 'libhalloc-pprof' "$work/maps.limit"; then
    fail libraries "the encoders are not there under a limit"
  else
    ok libraries
  fi
}

begin "$@"
require gcc gcc && require strip binutils && require addr2line binutils || finish
gcc -O1 -Wall -o "$work/bin/over_limit" "$here/programs/over_limit.c" -ldl &&
  strip -o "$work/bin/stripped" "$work/bin/over_limit" || { fail over_limit "does not compile" && finish; }
by_thread
in_malloc
without_profile
in_a_child
set_late
without_samples
stripped
libraries
finish
