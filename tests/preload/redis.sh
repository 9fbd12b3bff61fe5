#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# redis-server with forked children that save, and a check of its profile's numbers. Catches a child of fork that finds
# a lock held, blocks that change under copy-on-write, and samples that are lost, counted twice or weighted wrongly.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly key_count=60000
readonly load='
  for i = ARGV[1], ARGV[2] do
    redis.call("set", "string:" .. i, string.rep(i, i % 40))
    if i % 10 == 0 then redis.call("rpush", "list:" .. i % 700, i, string.rep("l", i % 300)) end
    if i % 11 == 0 then redis.call("hset", "hash:" .. i % 500, i, "value" .. i) end
    if i % 13 == 0 then redis.call("zadd", "sorted:" .. i % 90, i % 977, i) end
    if i % 17 == 0 then redis.call("sadd", "set:" .. i % 300, i, "member" .. i) end
    if i % 3 == 0 then redis.call("append", "string:" .. i, string.rep("a", i % 500)) end
    if i % 19 == 0 then redis.call("del", "string:" .. (i - 5)) end
  end
  return ARGV[2] - ARGV[1] + 1'

ask() {
  timeout 20 redis-cli -s "$socket" "$@"
}

is_up() {
  [[ $(ask ping) == PONG ]]
}

# start_redis MODE NAME LOG OPTION...
start_redis() {
  socket=$work/redis.sock
  rm -f "$socket"
  use_mode "$1" "$2"
  mkdir -p "$work/$2/profiles" "$work/$2/$1"
  start_server "$work/$2/$1/$3" redis-server --port 0 --unixsocket "$socket" --dir "$work/$2/$1" --save '' \
    --enable-debug-command local --daemonize no "${@:4}"
  wait_for 20 is_up && return
  fail "$2" "$1: the server does not answer: $(tail -n 1 "$work/$2/$1/$3")"
  return 1
}

# stop_redis NAME MODE: asks it to end and expects that it does so well.
stop_redis() {
  ask shutdown nosave >/dev/null 2>&1
  await_end "$server"
  local status=$?
  ((status == 0)) && return
  fail "$1" "$2: the server ended with status $status"
  return 1
}

info_is() {
  ask info persistence | tr -d '\r' | grep -qx "$1"
}

saved_well() {
  info_is rdb_bgsave_in_progress:0 && info_is aof_rewrite_in_progress:0 && info_is aof_rewrite_scheduled:0
}

digest() {
  echo "$1 $(ask debug digest) $(ask dbsize)"
}

# One life of a server in a mode: load, save in children while loading goes on, read back from either file.
life() {
  local mode=$1 digests=$work/redis/$1/digests half=$((key_count / 2))
  start_redis "$mode" redis log1 --appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0 || return 1
  ask eval "$load" 0 1 "$half" >/dev/null
  ask bgsave >/dev/null
  ask eval "$load" 0 $((half + 1)) "$key_count" >/dev/null
  wait_for 30 saved_well || return 1
  ask bgrewriteaof >/dev/null
  ask eval "$load" 0 100 900 >/dev/null
  wait_for 30 saved_well || return 1
  info_is rdb_last_bgsave_status:ok && info_is aof_last_bgrewrite_status:ok || return 1
  digest memory >>"$digests"
  ask bgsave >/dev/null
  wait_for 30 saved_well || return 1
  stop_redis redis "$mode" || return 1
  start_redis "$mode" redis log2 --appendonly yes || return 1
  digest aof >>"$digests"
  stop_redis redis "$mode" || return 1
  start_redis "$mode" redis log3 --appendonly no || return 1
  digest rdb >>"$digests"
  stop_redis redis "$mode"
}

saves() {
  local mode reached
  for mode in "${modes[@]}"; do
    life "$mode"
    reached=$(wc -l <"$work/redis/$mode/digests")
    if ((reached != 3)); then
      fail redis "$mode: stuck after $reached of 3 stages: $(cat "$work/redis/$mode"/log* | tail -n 1)"
      return
    fi
    expect_silence redis "$work/redis/$mode"/log* || return
    if [[ $(cut -d ' ' -f 2- "$work/redis/$mode/digests" | sort -u | wc -l) -ne 1 ]] ||
      ! cmp -s "$work/redis/plain/digests" "$work/redis/$mode/digests"; then
      fail redis "$mode: other data: $(tr '\n' ' ' <"$work/redis/$mode/digests")"
      return
    fi
  done
  ok redis
  # Children that save end with _exit; the server itself ran three times.
  expect_profiles redis 3 'z(try)?(malloc|calloc|realloc)|sds|zmalloc'
}

# Leaves $work/redis_profile/profiles/PID.pb.gz of a loaded server.
measure() {
  rm -rf "$work/redis_profile"
  start_redis default-profile redis_profile log || return 1
  redis-benchmark -s "$socket" -q -n 60000 -r 20000 -d 2000 -P 16 -c 20 -t set,get,lpush,hset,sadd,zadd,mset,lpop \
    >"$work/benchmark.out" 2>&1 || return 1
  stop_redis redis_profile default-profile
}

check_numbers() {
  local file=("$work/redis_profile/profiles"/*.pb.gz)
  run_pprof -raw -symbolize=none "${file[0]}" || return 1
  "$python" "$here/check_totals.py" redis- 0.95 <"$work/pprof.out" >"$work/numbers" 2>&1
}

profile() {
  if ! measure; then
    fail redis_profile "the load did not finish: $(tail -n 1 "$work/benchmark.out")"
    return
  fi
  expect_silence redis_profile "$work/redis_profile/default-profile/log" || return
  # Three standard errors are missed once in 370 runs; twice in a row is not chance.
  if check_numbers || { measure && check_numbers; }; then
    ok redis_profile_numbers
  else
    fail redis_profile_numbers "$(tail -n 1 "$work/numbers")"
  fi
  expect_profiles redis_profile 1 'z(try)?(malloc|calloc|realloc)|sds'
}

begin "$@"
if require redis-server redis-server && require redis-cli redis-tools && require redis-benchmark redis-tools; then
  saves
  profile
fi
finish
