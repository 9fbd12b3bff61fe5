#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The profile of resident memory of programs that know nothing of halloc adds up to the VmRSS that the kernel says.
# Catches mappings that are counted twice or not at all, in processes with threads, a loaded heap, files and memory of
# their own. A thread preloaded beside halloc writes the profile. 2 % are allowed: VmRSS is read right before and after,
# and the profile is made in memory of the process, some 150 KiB. The first profile, which loads a library, is not judged.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prepare() {
  if ! gcc -O1 -shared -fPIC -o "$work/lib/writer.so" "$here/programs/profile_writer.c" -pthread 2>"$work/cc.err" ||
    ! g++ -O1 -o "$work/busy_threads" "$here/programs/busy_threads.cpp" -pthread 2>>"$work/cc.err"; then
    fail rss_programs "$(head -n 1 "$work/cc.err")"
    return 1
  fi
  mkfifo "$work/pipe"
  settings=("LD_PRELOAD=$library:$work/lib/writer.so" "PROFILE_PIPE=$work/pipe")
}

resident() {
  awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$server/status"
}

# write_rss FILE: tells the server to write one.
write_rss() {
  rm -f "$1"
  timeout 10 bash -c "echo 'rss $1' >'$work/pipe'" && wait_for 20 test -e "$1"
}

# expect_total NAME: the server's profile and its VmRSS agree.
expect_total() {
  local file=$work/$1.pb.gz before after total
  if ! write_rss "$file" || ! { before=$(resident) && write_rss "$file" && after=$(resident); }; then
    fail "rss_$1" "no profile came"
    return
  fi
  run_pprof -raw -symbolize=none "$file"
  total=$(awk '/^Samples:/ { rows = 1; next } /^Locations/ { rows = 0 }
    rows && $1 ~ /^[0-9]+:$/ { sum += $1 } END { printf "%d", sum }' "$work/pprof.out")
  if awk -v t="$total" -v b="$before" -v a="$after" 'BEGIN { exit !(t > b * .98 && t < b * 1.02 && t > a * .98 && t < a * 1.02) }'; then
    ok "rss_$1"
  else
    fail "rss_$1" "the rows add up to $total, VmRSS was $before before and $after after"
  fi
  grep -q "halloc: rss VmRSS=" "$work/pprof.out" || fail "rss_$1" "no comment"
}

python_rss() {
  start_server "$work/python.log" "$python" -c '
import sys, time
rows = [str(i) * 20 for i in range(200000)]
open(sys.argv[1], "w").close()
time.sleep(60)' "$work/python.up"
  wait_for 20 test -e "$work/python.up"
  expect_total python
}

threads_rss() {
  start_server "$work/threads.log" "$work/busy_threads"
  wait_for 30 grep -q built "$work/threads.log"
  expect_total threads
}

redis_rss() {
  require redis-server redis-server && require redis-benchmark redis-tools || return
  start_server "$work/redis.log" redis-server --port 0 --unixsocket "$work/redis.sock" --dir "$work" --save ''
  wait_for 20 redis-cli -s "$work/redis.sock" ping
  timeout 60 redis-benchmark -s "$work/redis.sock" -q -n 20000 -r 10000 -d 2000 -P 16 -c 20 -t set,lpush,hset,lpop \
    >"$work/benchmark.out" 2>&1
  expect_total redis
}

end_server() {
  kill -KILL "$server"
  wait "$server" 2>/dev/null
}

begin "$@"
if prepare; then
  for program in python threads redis; do
    "${program}_rss"
    end_server
  done
fi
finish
