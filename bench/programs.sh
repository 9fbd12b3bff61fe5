# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# The rows that are one run of a real program.

# The interpreter itself: what is first in PATH may be a shell script that chooses one.
run_python() {
  local records
  records=$(choose "$quick_python_records" "$python_records")
  settings+=(PYTHONMALLOC=malloc)
  run_once "$@" "Python/records=$records" "$python" "$root/bench/objects.py" "$records"
}

run_gcc() {
  local functions
  functions=$(choose "$quick_gcc_functions" "$gcc_functions")
  [[ -e $scratch/source.c ]] || print_source "$functions" >"$scratch/source.c"
  run_once "$@" "Gcc/functions=$functions" gcc -O1 -c "$scratch/source.c" -o "$scratch/source.o"
}

# A C file of N functions that resemble each other and call each other.
print_source() {
  local i
  printf '%s\n' 'struct item { int key; long sum; struct item *next; };' \
    'long f0(struct item *a, int n) { return n; }'
  for ((i = 1; i <= $1; i++)); do
    cat <<END
long f$i(struct item *a, int n) {
  long total = $i;
  for (int k = 0; k < n; k++) {
    switch ((a->key + k) % 4) {
      case 0: total += a->sum * $i; break;
      case 1: total ^= f$((i - 1))(a, n / 2); break;
      case 2: a->sum = total >> (k & 7); break;
      default: if (a->next) a = a->next; else return total - k;
    }
  }
  return total + a->key;
}
END
  done
}
