# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# The row of redis-server.

readonly redis_requests=200000 quick_redis_requests=30000
readonly redis_tests=set,get,incr,lpush,rpush,lpop,sadd,hset,zadd,spop,mset
readonly redis_key_count=100000 redis_value_bytes=128 redis_pipeline=16 redis_clients=20
readonly ping_limit_s=2

server_pid=''

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

redis_answers() {
  [[ $(timeout "$ping_limit_s" redis-cli -h 127.0.0.1 -p "$1" ping 2>/dev/null) == PONG ]]
}

start_redis() {
  local port=$1 try
  mkdir -p "$scratch/redis"
  env "${settings[@]}" redis-server --save '' --appendonly no --port "$port" --bind 127.0.0.1 \
    --dir "$scratch/redis" --daemonize no >"$scratch/redis/log" 2>"$scratch/err" &
  server_pid=$!
  for ((try = 0; try < start_tries; try++)); do
    kill -0 "$server_pid" 2>/dev/null || return 1
    if redis_answers "$port"; then return 0; fi
    sleep "$start_wait_s"
  done
  return 1
}

stop_redis() {
  [[ -n $server_pid ]] || return 0
  kill "$server_pid" 2>/dev/null || true
  local try
  for ((try = 0; try < start_tries; try++)); do
    kill -0 "$server_pid" 2>/dev/null || break
    sleep "$start_wait_s"
  done
  kill -KILL "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=''
}

# User and system time of the server in ns; fields 14 and 15 of its stat, in clock ticks.
server_cpu_ns() {
  awk -v hz="$(getconf CLK_TCK)" '{ printf "%.0f", ($14 + $15) * 1e9 / hz }' "/proc/$server_pid/stat"
}

load_redis() {
  run_measured -- redis-benchmark -h 127.0.0.1 -p "$1" -t "$redis_tests" -n "$2" -q \
    -r "$redis_key_count" -d "$redis_value_bytes" -P "$redis_pipeline" -c "$redis_clients"
}

# The client runs without a preload; what counts is the processor time of the server.
run_redis() {
  local round=$1 row=$2 allocator=$3 port requests total before after wall_ns peak_bytes ns_per_op
  reason=''
  requests=$(choose "$quick_redis_requests" "$redis_requests")
  port=$(free_port)
  if ! start_redis "$port"; then
    fail "$row" "$allocator" "the server does not answer"
    stop_redis
    return
  fi
  before=$(server_cpu_ns)
  if load_redis "$port" "$requests" && kill -0 "$server_pid" 2>/dev/null; then
    after=$(server_cpu_ns)
    peak_bytes=$(awk '/^VmHWM/ { printf "%.0f", $2 * 1024 }' "/proc/$server_pid/status")
    read -r wall_ns _ <"$scratch/usage"
    total=$((requests * $(tr , '\n' <<<"$redis_tests" | wc -l)))
    ns_per_op=$(awk -v ns="$wall_ns" -v count="$total" 'BEGIN { printf "%.2f", ns / count }')
    record "$round" program "$allocator" "Redis/requests=$total" "$total" "$ns_per_op" \
      "$((after - before))" "$peak_bytes"
  else
    fail "$row" "$allocator" "the load did not finish: ${reason:-the server ended}"
  fi
  stop_redis
}
