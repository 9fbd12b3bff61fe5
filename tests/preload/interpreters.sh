#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Python, Perl, Lua and Node under preload print what they print without. Catches lost or doubled blocks in programs
# that realloc all the time, trouble with many threads that end, and with forks of a process that has them.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python_works() {
  # PYTHONMALLOC=malloc sends small objects to malloc too, instead of Python's own pools.
  run_both python env PYTHONMALLOC=malloc PYTHONHASHSEED=1 "$python" "$here/programs/work.py"
  expect_same python
  expect_profiles python 1 'Py|_Py'
  run_both python_pools env PYTHONHASHSEED=1 "$python" "$here/programs/work.py"
  expect_same python_pools
}

perl_works() {
  require perl perl || return
  run_both perl env PERL_HASH_SEED=0 perl "$here/programs/work.pl"
  expect_same perl
  expect_profiles perl 4 'Perl_'
}

lua_works() {
  require lua5.4 lua5.4 || return
  run_both lua lua5.4 "$here/programs/work.lua"
  expect_same lua
  expect_profiles lua 1 'lua_|luaL_'
}

node_works() {
  require node nodejs || return
  run_both node node "$here/programs/work.js"
  expect_same node
  # Its child processes inherit the preload as well.
  expect_profiles node 2 '_ZN2v8|_ZN4node|uv_'
}

begin "$@"
python_works
perl_works
lua_works
node_works
finish
