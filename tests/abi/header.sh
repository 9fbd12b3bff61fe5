#!/bin/sh
# SPDX-License-Identifier: MIT
#
# halloc.h as users of every dialect compile it: without a warning, before and after other headers.
#
# usage: header.sh SOURCE_ROOT
set -u
root=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

cat >"$work/use.c" <<'END'
#include <halloc.h>
#include <halloc.h>
static void work(void) {}
static void work_on(void *arg) { (void)arg; }
static int put(void *arg, const void *data, size_t size) { (void)arg; (void)data; return (int)size; }
int use(void);
int use(void) {
  hp_labels_t labels = hp_labels("key", "value", "other", "value"), before = hp_current_labels();
  hp_do(labels, work);
  hp_do_arg(labels, work_on, &before);
  HP_SCOPE(hp_labels("key", "inner")) {
    HP_SCOPE(labels) { work(); }
  }
  hp_set_labels(hp_add_labels(before));
  if (hp_label("key") != 0) return 1;
  struct hp_http_sink sink = {sizeof sink, 0, 0, 0, put, 0, 0};
  if (hp_http_serve(":0") != 0 || hp_http_address() == 0 || hp_http_handle("GET", "/", &sink) != 0) return 2;
  hp_set_block_profile_rate(0);
  struct hp_memstats stats = hp_memstats();
  return (int)stats.HeapAlloc + hp_write_heap_profile(1) + hp_write_profile("heap", 1, 0) +
         (int)hp_set_mem_profile_rate(-1) + hp_start_cpu_profile(1) + hp_stop_cpu_profile() +
         hp_set_mutex_profile_fraction(-1) +
         (int)stats.BySize[HP_SIZE_CLASSES - 1].Size + (int)sizeof HP_VERSION;
}
END
cp "$work/use.c" "$work/use.cc"
cat >>"$work/use.cc" <<'END'
int use_cpp();
int use_cpp() {
  hp::scope scope(hp_labels("key", "value"));
  hp_do(hp_current_labels(), [] {});
  return hp_do(hp_labels("key", "value"), [] { return 1; });
}
END

# check COMPILER LANGUAGE STANDARD FILE
check() {
  name="header_$1_$3"
  if ! command -v "$1" >/dev/null; then
    echo "skip $name: no $1"
  elif "$1" -x "$2" -std="$3" -pedantic-errors -Wall -Wextra -Werror -Wundef -I"$root/include" -c "$work/$4" \
    -o "$work/out.o" 2>"$work/err"; then
    echo "ok $name"
  else
    echo "FAIL $name: $(head -5 "$work/err")"
    failed=1
  fi
}

for compiler in gcc clang clang-14; do
  for standard in c99 c11 c17; do check $compiler c $standard use.c; done
done
for compiler in g++ clang++ clang++-14; do
  for standard in c++11 c++17 c++20; do check $compiler c++ $standard use.cc; done
done
exit $failed
