# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# Instructions of an operation, counted by callgrind. A row runs with N operations and with 2N; the
# difference, divided by N, is free of what start-up costs.

readonly counted_allocators=(halloc halloc-0 mimalloc tcmalloc jemalloc glibc)
# row|N: the live set, if there is one, is full before N.
readonly counted_rows=(
  'pair --size 16|50000'
  'pair --size 16 --burst 100|50000'
  'pair --size 1024|50000'
  'pair --size 32768|400000'
  'pareto|200000'
  'batch --order 1|50000'
  'batch --order 3|50000'
  'random_mix --threads 1 --slots 5000|50000'
  'calloc --size 64|50000'
  'realloc_grow|5000'
  'aligned|50000'
)

# Leaves what can be counted of the rows and allocators that were asked for.
keep_what_is_counted() {
  local name kept=()
  for name in "${counted_allocators[@]}"; do
    if is_one_of "$name" "${allocators[@]}"; then kept+=("$name"); fi
  done
  ((${#kept[@]} > 0)) || die_usage "--instructions knows ${counted_allocators[*]}"
  allocators=("${kept[@]}")
}

# count_once OPERATIONS WORD...: instructions outside the program itself, and the operations it did.
count_once() {
  local program=$programs/$2
  timeout "$run_limit_s" env "${settings[@]}" valgrind -q --tool=callgrind \
    --callgrind-out-file="$scratch/callgrind" "$program" "${@:3}" --iterations "$1" \
    >"$scratch/out" 2>"$scratch/err" || return 1
  printf '%s %s\n' "$("$python" "$root/bench/callgrind.py" total "$scratch/callgrind" "$program")" \
    "$(awk '/^Benchmark/ { print $2 }' "$scratch/out")"
}

# The difference of two runs for each operation, or nothing.
count_row() {
  local operations=$2 words once twice
  read -ra words <<<"$1"
  once=$(count_once "$operations" "${words[@]}") || return 1
  twice=$(count_once $((2 * operations)) "${words[@]}") || return 1
  awk -v once="$once" -v twice="$twice" 'BEGIN {
    split(once, a); split(twice, b); printf "%.1f", (b[1] - a[1]) / (b[2] - a[2]) }'
}

count_instructions() {
  local entry row value allocator
  echo 'row,allocator,instructions_per_op' >"$out/instructions.csv"
  for entry in "${counted_rows[@]}"; do
    row=${entry%|*}
    [[ -z $pattern || $row =~ $pattern ]] || continue
    printf 'bench: counting: %s\n' "$row" >&2
    for allocator in "${present[@]}"; do
      choose_allocator "$allocator"
      if value=$(count_row "$row" "${entry#*|}"); then
        printf '%s,%s,%s\n' "$row" "$allocator" "$value" >>"$out/instructions.csv"
      else
        fail "$row" "$allocator" "$(tail -n 1 "$scratch/err")"
      fi
    done
  done
  "$python" -B "$root/bench/table.py" --instructions "$out" "${present[@]}" | tee "$out/instructions.md"
  printf 'written to %s: instructions.md, instructions.csv\n' "$out"
}
