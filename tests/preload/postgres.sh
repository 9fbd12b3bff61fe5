#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# PostgreSQL: initdb, a server with its helper processes, and pgbench. Catches trouble in processes that fork without
# exec and live long, and memory contexts that rely on what realloc and malloc_usable_size promise.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly clients=4 transactions=250 scale=2

# PostgreSQL refuses to run as root.
as_postgres=()
choose_user() {
  ((EUID == 0)) || return 0
  if ! id postgres >/dev/null 2>&1; then
    fail require_postgres_user "there is no user postgres; the Debian package postgresql makes it"
    return 1
  fi
  as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups)
}

# Debian has the server's programs outside of PATH.
find_programs() {
  local directory
  for directory in /usr/lib/postgresql/*/bin; do PATH=$directory:$PATH; done
  require initdb postgresql && require postgres postgresql && require psql postgresql &&
    require pgbench postgresql && require setpriv util-linux
}

query() {
  timeout 30 "${as_postgres[@]}" psql -X -A -t -h "$directory/socket" -p "$port" -U postgres postgres "$@"
}

is_up() {
  query -c 'select 1'
}

# life MODE: leaves `sums` in the mode's directory.
life() {
  local mode=$1
  directory=$work/postgres/$mode
  port=5432
  mkdir -p "$directory/socket" "$work/postgres/profiles"
  chmod 711 "$work/postgres"
  ((EUID != 0)) || chown -R postgres: "$directory" "$work/postgres/profiles"
  use_mode "$mode" postgres
  settings+=("HOME=$directory" "TMPDIR=$directory")
  cd "$directory" || return 1
  timeout 60 "${as_postgres[@]}" env "${settings[@]}" initdb -D data -U postgres -A trust -E UTF8 --locale=C -N \
    >initdb.log 2>&1 || return 1
  start_server "$directory/log" "${as_postgres[@]}" postgres -D data -k "$directory/socket" -p "$port" \
    -c listen_addresses= -c fsync=off -c shared_buffers=16MB -c max_parallel_workers_per_gather=2
  wait_for 30 is_up || return 1
  timeout 60 "${as_postgres[@]}" env "${settings[@]}" pgbench -h "$directory/socket" -p "$port" -U postgres -q -i \
    -s $scale postgres >pgbench.log 2>&1 || return 1
  timeout 60 "${as_postgres[@]}" env "${settings[@]}" pgbench -h "$directory/socket" -p "$port" -U postgres -n \
    -c $clients -j 2 -t $transactions --random-seed=7 postgres >>pgbench.log 2>&1 || return 1
  query -f "$here/programs/balances.sql" >"$directory/sums" 2>"$directory/sums.err" || return 1
  kill -INT "$server"
  await_end "$server"
}

begin "$@"
if find_programs && choose_user; then
  for mode in "${modes[@]}"; do
    if ! life "$mode"; then
      fail postgres "$mode: $(cat initdb.log pgbench.log log sums.err 2>/dev/null | grep -E -m 1 'FATAL|PANIC|rror|signal')"
      break
    fi
    expect_silence postgres log initdb.log pgbench.log || break
    # A client that asks too early, and a helper process that is told to end, are in the log of every run.
    crash=$(grep -E 'PANIC|FATAL|terminated by signal' log | grep -vE -m 1 'starting up|administrator command')
    if [[ -n $crash ]]; then
      fail postgres "$mode: $crash"
      break
    fi
    if ! grep -qx "consistent|t|$((clients * transactions))" sums || ! cmp -s "$work/postgres/plain/sums" sums; then
      fail postgres "$mode: $(diff "$work/postgres/plain/sums" sums | head -n 5 | tr '\n' ' ')"
      break
    fi
  done
  cd "$work" || exit 2
  if [[ $failed -eq 0 ]]; then
    ok postgres
    expect_profiles postgres 10 'AllocSet|MemoryContext|palloc|BuildTupleFromCStrings|SlabContext'
  fi
fi
finish
