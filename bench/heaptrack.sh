#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What does a profile of every allocation cost? halloc at rate 1 beside heaptrack, which records every allocation too,
# on the same programs. Prints the shortest elapsed time and the smallest processor time of some rounds, which are
# interleaved. heaptrack compresses its records in a process of its own, so its elapsed time hides a part of its work
# where a core is idle.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly library=$root/build/libhalloc.so rounds=${1:-5}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for tool in heaptrack lua5.4 perl python3 /usr/bin/time; do
  command -v "$tool" >/dev/null || { echo "bench/heaptrack.sh: $tool is not installed" >&2; exit 2; }
done
[[ -e $library ]] || { echo "bench/heaptrack.sh: $library is not there: run scripts/build" >&2; exit 2; }

# Not a shell script that chooses an interpreter.
python=$(python3 -c 'import sys; print(sys.executable)')
declare -A programs=(
  [batch]="$root/build/bench/batch --order 3 --iterations 2000000"
  [lua]="lua5.4 $root/bench/tables.lua 60000"
  [perl]="perl $root/bench/hashes.pl 40000"
  [python]="$python $root/bench/objects.py 40000"
)
export PYTHONMALLOC=malloc

# Prints: program, how, elapsed seconds, processor seconds.
measure() {
  local label=$1
  shift
  /usr/bin/time -o "$scratch/time" -f '%e %U %S' "$@" >/dev/null 2>&1
  awk -v label="$label" '{ printf "%s %.2f %.2f\n", label, $1, $2 + $3 }' "$scratch/time"
}

run_all() {
  local name command
  for name in batch lua perl python; do
    read -ra command <<<"${programs[$name]}"
    measure "$name glibc" "${command[@]}"
    measure "$name halloc-0" env LD_PRELOAD="$library" HALLOC_MEMPROFILERATE=0 "${command[@]}"
    measure "$name halloc-1" env LD_PRELOAD="$library" HALLOC_MEMPROFILERATE=1 "${command[@]}"
    measure "$name heaptrack" heaptrack -o "$scratch/record" "${command[@]}"
  done
}

for ((round = 0; round < rounds; round++)); do
  run_all
done | awk '
  { key = $1 " " $2 }
  !(key in elapsed) || $3 < elapsed[key] { elapsed[key] = $3 }
  !(key in processor) || $4 < processor[key] { processor[key] = $4 }
  END {
    printf "| program | allocator | elapsed s | processor s |\n|---|---|---:|---:|\n"
    for (key in elapsed) {
      split(key, part, " ")
      printf "| %s | %s | %.2f | %.2f |\n", part[1], part[2], elapsed[key], processor[key] | "sort"
    }
  }'
