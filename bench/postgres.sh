# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# The row of PostgreSQL: a cluster of its own in the scratch folder, reached through a socket there.

readonly postgres_transactions=4000 quick_postgres_transactions=1000
readonly postgres_clients=4 postgres_scale=2 postgres_seed=20011

postgres=''     # the folder of the cluster, once it is made
postgres_pid='' # of `measure`, whose child the server is

# Where the newest installed server's programs are.
postgres_folder() {
  local server
  server=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
  [[ ! -x $server ]] || dirname "$server"
}

# The server refuses to run as root; then everything of it runs as the user of the Debian package.
as_postgres() {
  if ((EUID == 0)); then
    (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
  else
    "$@"
  fi
}

postgres_settings() {
  cat <<END
listen_addresses = ''
unix_socket_directories = '$postgres'
max_connections = 20
fsync = off
autovacuum = off
jit = off
END
}

# A few small queries, and one that sorts and joins text.
postgres_query() {
  cat <<'END'
\set first random(1, 190000)
SELECT aid % 50 AS part, count(*), string_agg(filler, ',' ORDER BY abalance) FROM pgbench_accounts
WHERE aid BETWEEN :first AND :first + 1000 GROUP BY part ORDER BY part;
END
}

# Makes the cluster and fills it, with no allocator preloaded.
make_postgres() {
  local folder
  folder=$(postgres_folder)
  postgres=$scratch/postgres
  mkdir "$postgres"
  cp "$measure" "$postgres/measure"
  postgres_query >"$postgres/query.sql"
  if ((EUID == 0)); then
    chmod 711 "$scratch"
    chown -R postgres "$postgres"
  fi
  {
    as_postgres "$folder/initdb" -D "$postgres/data" -U postgres --auth=trust --no-sync --no-locale -E UTF8 &&
      postgres_settings >>"$postgres/data/postgresql.conf" &&
      settings=() && start_postgres &&
      as_postgres "$folder/createdb" -h "$postgres" -U postgres bench &&
      as_postgres "$folder/pgbench" -h "$postgres" -U postgres -i -q -s "$postgres_scale" bench
  } >"$scratch/err" 2>&1 || die "cannot make a PostgreSQL cluster: $(tail -n 1 "$scratch/err")"
  stop_postgres
}

start_postgres() {
  local try folder
  folder=$(postgres_folder)
  as_postgres "$postgres/measure" "$postgres/usage" "${settings[@]}" -- \
    "$folder/postgres" -D "$postgres/data" >"$scratch/postgres.log" 2>&1 &
  postgres_pid=$!
  for ((try = 0; try < start_tries; try++)); do
    kill -0 "$postgres_pid" 2>/dev/null || return 1
    if as_postgres "$folder/pg_isready" -q -h "$postgres" -U postgres; then return 0; fi
    sleep "$start_wait_s"
  done
  return 1
}

# Waits until `measure` has written what the server and its children used; they end with it in any case.
stop_postgres() {
  [[ -n $postgres_pid ]] || return 0
  as_postgres "$(postgres_folder)/pg_ctl" -D "$postgres/data" stop -s -w -m fast >/dev/null 2>&1 ||
    kill "$postgres_pid" 2>/dev/null || true
  wait "$postgres_pid" 2>/dev/null || true
  postgres_pid=''
}

# The user postgres may not be able to read the build folder, and ld.so would only warn.
copy_library() {
  cp -L "$library" "$postgres/preloaded.so.new"
  chmod 755 "$postgres/preloaded.so.new"
  mv "$postgres/preloaded.so.new" "$postgres/preloaded.so"
  settings[0]=LD_PRELOAD=$postgres/preloaded.so
}

load_postgres() {
  as_postgres timeout "$run_limit_s" "$(postgres_folder)/pgbench" -h "$postgres" -U postgres -n \
    -c "$postgres_clients" -t "$1" --random-seed="$postgres_seed" -b select-only@9 \
    -f "$postgres/query.sql@1" bench >"$scratch/err" 2>&1
}

# What counts is the processor time of all processes of the server, from its start to its end.
run_postgres() {
  local round=$1 row=$2 allocator=$3 transactions total wall_ns cpu_ns peak_bytes ns_per_op problem=''
  if [[ -z $postgres ]]; then
    make_postgres
    choose_allocator "$allocator"
  fi
  transactions=$(choose "$quick_postgres_transactions" "$postgres_transactions")
  total=$((transactions * postgres_clients))
  copy_library
  rm -f "$postgres/usage"
  if ! start_postgres; then
    problem='the server does not answer'
  elif ! load_postgres "$transactions"; then
    problem="the load did not finish: $(tail -n 1 "$scratch/err")"
  fi
  stop_postgres
  if grep -q 'cannot be preloaded' "$scratch/postgres.log"; then problem='cannot be preloaded'; fi
  if [[ -n $problem || ! -s $postgres/usage ]]; then
    fail "$row" "$allocator" "${problem:-the server left no figures}"
    return
  fi
  read -r wall_ns cpu_ns peak_bytes <"$postgres/usage"
  ns_per_op=$(awk -v ns="$wall_ns" -v count="$total" 'BEGIN { printf "%.2f", ns / count }')
  record "$round" program "$allocator" "Postgres/transactions=$total" "$total" "$ns_per_op" \
    "$cpu_ns" "$peak_bytes"
}
