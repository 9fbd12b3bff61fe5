#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# gcc and g++ under preload give bit-identical objects. Catches blocks that overlap or lose bytes, realloc that
# copies too little, and addresses that leak into results through a wrong malloc_usable_size.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly function_count=150

print_c_source() {
  local i
  printf '%s\n' 'struct item { int key; long sum; struct item *next; };' \
    'long f0(struct item *a, int n) { return n; }'
  for ((i = 1; i <= function_count; i++)); do
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

c_objects() {
  require gcc gcc || return
  print_c_source >"$work/source.c"
  run_both gcc gcc -O2 -c "$work/source.c" -o source.o
  expect_same gcc source.o
  expect_profiles gcc 3 'xmalloc|xrealloc|ggc_'
}

cxx_objects() {
  require g++ g++ || return
  run_both gxx g++ -std=c++17 -O1 -c "$here/programs/templates.cpp" -o templates.o
  expect_same gxx templates.o
  expect_profiles gxx 3 'xmalloc|xrealloc|ggc_'
}

begin "$@"
c_objects
cxx_objects
finish
