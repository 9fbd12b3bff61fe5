#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Compares the answers of answers.c under glibc with those under halloc, preloaded and linked, line by line.
#
# usage: answers.sh PROGRAM_WITHOUT_HALLOC PROGRAM_WITH_HALLOC LIBRARY
set -eu
unset LD_PRELOAD HALLOC_MEMPROFILERATE
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What differs on purpose:
# - posix_memalign reports by its result alone; glibc also sets errno on ENOMEM, POSIX does not ask for it.
normal() { sed '/^posix_memalign.* ENOMEM /s/ errno .*//' "$1"; }

"$1" >"$work/glibc"
LD_PRELOAD=$(realpath "$3") "$1" >"$work/preload"
"$2" >"$work/linked"
normal "$work/glibc" >"$work/expected"
failed=0
for how in preload linked; do
  normal "$work/$how" >"$work/actual"
  if diff "$work/expected" "$work/actual" >"$work/diff"; then
    echo "ok answers_are_those_of_glibc_$how ($(wc -l <"$work/actual") lines)"
  else
    echo "FAIL answers_are_those_of_glibc_$how: < glibc, > halloc"
    grep '^[<>]' "$work/diff" | head -40
    failed=1
  fi
done
exit $failed
