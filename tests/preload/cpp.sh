#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Unwinding beside a library that unwinds itself: exceptions across shared libraries and through deep stacks, a C++
# library in a C program, cancellation. Catches a second unwinder that shadows libgcc's, samples taken in the middle of
# a throw, and malloc that is a cancellation point. Also at rate 1, where every allocation walks the stack.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

compile() {
  local out=$work/bin/$1
  shift
  g++ -O1 -pthread -I "$here/programs" -o "$out" "$@" 2>"$work/compile.err" && return
  fail "compile_${out##*/}" "$(head -n 1 "$work/compile.err")"
  return 1
}

exceptions() {
  compile libthrower.so -shared -fPIC "$here/programs/thrower.cpp" || return
  # Exported names, so that the profile of a stripped build would have them too.
  compile exceptions -rdynamic "$here/programs/exceptions.cpp" -L "$work/bin" -lthrower -Wl,-rpath,"$work/bin" || return
  run_both exceptions "$work/bin/exceptions"
  expect_same exceptions
  expect_profiles exceptions 1 '_ZN11heavy_error|_Z8throw_atii|main'
}

plugins() {
  compile plugin.so -shared -fPIC "$here/programs/plugin.cpp" || return
  gcc -O1 -o "$work/bin/c_host" "$here/programs/c_host.c" || return
  run_both plugin "$work/bin/c_host" "$work/bin/plugin.so"
  expect_same plugin
  expect_profiles plugin 1 'main'
}

cancellation() {
  compile cancel "$here/programs/cancel.cpp" || return
  run_both cancel "$work/bin/cancel"
  expect_same cancel
  expect_profiles cancel 1 '_Z'
}

begin "$@"
modes+=(1)
if require g++ g++ && require gcc gcc; then
  exceptions
  plugins
  cancellation
fi
finish
