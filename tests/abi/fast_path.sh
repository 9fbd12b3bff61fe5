#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The machine code of malloc and free is what was reviewed: no spilled register, no call, no check that crept
# in.
#
# Disassembles both, without addresses, and compares with the golden file of the compiler. For other
# compilers, processors and kinds of build only the number of instructions is checked, and a build that is not
# optimised or is instrumented is not checked at all (status 77: skipped).
#
# usage: fast_path.sh BUILD_DIR           after a wanted change: fast_path.sh BUILD_DIR --write
set -euo pipefail
export LC_ALL=C

build=$1
library=$build/libhalloc.so
folder=$(cd "$(dirname "$0")" && pwd)
golden=$folder/fast_path.x86_64.gcc12.golden
# malloc and free with their jumps to the slow paths, without padding.
readonly most_malloc=24 most_free=44

for tool in objdump readelf; do
  command -v "$tool" >/dev/null || { echo "FAIL fast_path: no $tool: install binutils"; exit 1; }
done
command -v python3 >/dev/null || { echo "FAIL fast_path: no python3: install python3"; exit 1; }

# Prints the options that matter, as name=value.
build_options() {
  python3 - "$build/meson-info/intro-buildoptions.json" <<'END'
import json, sys
wanted = ("buildtype", "debug_checks", "b_sanitize", "b_coverage", "b_lto", "c_args", "optimization")
for option in json.load(open(sys.argv[1], encoding="utf-8")):
    if option["name"] in wanted:
        value = option["value"]
        print(option["name"], "=", " ".join(value) if isinstance(value, list) else str(value).lower(), sep="")
END
}

# One function without addresses, padding and the displacements that the linker fills in.
disassemble() {
  echo "$1:"
  objdump -d --no-show-raw-insn --disassemble="$1" "$library" |
    sed -nE '/^ +[0-9a-f]+:\t/ {
      s/^ +[0-9a-f]+:\t/  /
      s/-?0x[0-9a-f]+\(%rip\)([^#]*)# [0-9a-f]+ <_GLOBAL_OFFSET_TABLE_[^>]*>/GOT(%rip)\1/
      s/-?0x[0-9a-f]+\(%rip\)([^#]*)# [0-9a-f]+ <([^>]*)>/\2(%rip)\1/
      s/[0-9a-f]+ <([^>]*)>$/\1/
      s/[ \t]+/ /g
      s/ +$//
      p
    }' | grep -vE '^ (cs |data16 )*(nop|xchg %ax,%ax)'
}

check_count() {
  local count
  count=$(($(disassemble "$1" | wc -l) - 1))
  if ((count < 1 || count > $2)); then
    echo "FAIL fast_path $1: $count instructions, expected 1 to $2"
    return 1
  fi
  echo "ok fast_path $1: $count instructions, at most $2"
}

check_golden() {
  local difference
  if ! difference=$(diff -u "$golden" <(disassemble malloc; disassemble free)); then
    printf 'FAIL fast_path: the code differs from %s:\n%s\n' "$(basename "$golden")" "$difference"
    return 1
  fi
  echo "ok fast_path: the same code as in $(basename "$golden")"
}

options=$(build_options)
if [[ ${2:-} == --write ]]; then
  { disassemble malloc; disassemble free; } >"$golden"
  echo "written: $golden"
  exit 0
fi
has() { grep -qxE "$1" <<<"$options"; }
is_plain() {
  has 'optimization=[23]' && has debug_checks=false && has 'b_sanitize=(none)?' && has b_coverage=false
}
if ! is_plain; then
  echo "skip fast_path: not an optimised build without checks and instruments: $(tr '\n' ' ' <<<"$options")"
  exit 77
fi

failed=0
check_count malloc "$most_malloc" || failed=1
check_count free "$most_free" || failed=1
compiler=$(readelf -p .comment "$library" | sed -nE 's/^ +\[ *[0-9a-f]+\] +//p' | sort -u | tr '\n' ';')
is_gcc12() { [[ $compiler == *GCC:*' 12.'* && $compiler != *clang* ]]; }
if [[ $(uname -m) == x86_64 ]] && is_gcc12 && has buildtype=release && has b_lto=false && has c_args=; then
  check_golden || failed=1
else
  echo "only the instructions were counted: the golden file is for a release build by gcc 12, this is" \
    "$compiler $(tr '\n' ' ' <<<"$options")"
fi
exit "$failed"
