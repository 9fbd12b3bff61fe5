#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a small malloc and the free of its block cost in instructions, slow paths and samples included, and
# that the fast path is the same at every rate of profiling. Counted by callgrind: exact, and the same on a
# busy machine. A build that is not optimised, is checked or instrumented is not measured (status 77:
# skipped).
#
# usage: instructions.sh BUILD_DIR
set -euo pipefail
export LC_ALL=C
unset LD_PRELOAD "${!HALLOC_@}"

build=$(cd "$1" && pwd)
folder=$(cd "$(dirname "$0")" && pwd)
reader=$folder/../../bench/callgrind.py
library=$build/libhalloc.so
readonly most_per_pair=42 default_rate=524288 pairs=100000
rates=("$default_rate" 0 16384)

require() {
  command -v "$1" >/dev/null || { echo "FAIL instructions: no $1: install $2"; exit 1; }
}
require valgrind valgrind
require cc gcc
require python3 python3

is_plain_build() {
  python3 - "$build/meson-info/intro-buildoptions.json" <<'END'
import json, sys
value = {option["name"]: option["value"] for option in json.load(open(sys.argv[1], encoding="utf-8"))}
sys.exit(not (value["optimization"] in ("2", "3") and not value["debug_checks"] and not value["b_coverage"]
              and value["b_sanitize"] in ("none", [])))
END
}
if ! is_plain_build; then
  echo "skip instructions: not an optimised build without checks and instruments"
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -fno-builtin -o "$work/pairs" "$folder/instructions.c"

# run RATE PAIRS: leaves $work/profile.
run() {
  LD_PRELOAD=$library HALLOC_MEMPROFILERATE=$1 valgrind -q --tool=callgrind --dump-instr=yes \
    --callgrind-out-file="$work/profile" "$work/pairs" "$2" >"$work/output" 2>&1 ||
    { echo "FAIL instructions: valgrind: $(tail -n 3 "$work/output")"; exit 1; }
}

exceeds() { awk -v x="$1" -v most="$2" 'BEGIN { exit !(x > most) }'; }

total() { python3 "$reader" total "$work/profile" "$work/pairs"; }

failed=0
for rate in "${rates[@]}"; do
  run "$rate" "$pairs"
  once=$(total)
  run "$rate" $((2 * pairs))
  twice=$(total)
  per_pair=$(awk -v a="$once" -v b="$twice" -v n="$pairs" 'BEGIN { printf "%.2f", (b - a) / n }')
  echo "rate $rate: $per_pair instructions for a malloc and free of 16 bytes, all included"
  if [[ $rate == "$default_rate" ]] && exceeds "$per_pair" "$most_per_pair"; then
    echo "FAIL instructions: $per_pair for a pair at the default rate, at most $most_per_pair"
    failed=1
  fi
  # name, calls, instructions of the function itself, instructions of its usual path, digest of that path
  python3 "$reader" function "$work/profile" "libhalloc.so" malloc free >"$work/functions"
  awk '{ printf "  %s: %d calls, %.3f of its own for a call, usual path %d (%s)\n",
    $1, $2, $3 / $2, $4, $5 }' "$work/functions"
  awk '{ printf "%s %d %s\n", $1, $4, $5 }' "$work/functions" >"$work/path.$rate"
  # Rounded: a slow call ends the function early, and there are more of them when samples are taken.
  awk '{ printf "%s %.0f\n", $1, $3 / $2 }' "$work/functions" >>"$work/path.$rate"
done

for rate in "${rates[@]:1}"; do
  if ! cmp -s "$work/path.$default_rate" "$work/path.$rate"; then
    echo "FAIL instructions: the fast path at rate $rate is not that of rate $default_rate:"
    diff "$work/path.$default_rate" "$work/path.$rate" || true
    failed=1
  fi
done
((failed)) || echo "ok instructions: at most $most_per_pair for a pair, the same path at rates ${rates[*]}"
exit "$failed"
