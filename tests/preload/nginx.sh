#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# nginx with two workers under load of wrk: every request succeeds and the files come back whole. Catches trouble in
# forked workers, in pools of aligned blocks and on reload.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly load_s=2

print_config() {
  # As root the workers would become another user, who may not write profiles here.
  ((EUID != 0)) || echo 'user root;'
  cat <<END
daemon off;
worker_processes 2;
pid $directory/pid;
error_log $directory/error.log;
events { worker_connections 512; }
http {
  access_log $directory/access.log;
  client_body_temp_path $directory/body;
  proxy_temp_path $directory/proxy;
  fastcgi_temp_path $directory/fastcgi;
  uwsgi_temp_path $directory/uwsgi;
  scgi_temp_path $directory/scgi;
  gzip on;
  gzip_min_length 100;
  gzip_types *;
  server {
    listen 127.0.0.1:$port;
    root $work/files;
    location /proxied/ { proxy_pass http://127.0.0.1:$port/; proxy_buffers 8 4k; }
  }
}
END
}

print_fetcher() {
  cat <<'END'
import sys, urllib.request, hashlib, zlib
for name in sys.argv[2:]:
    request = urllib.request.Request(sys.argv[1] + name, headers={"Accept-Encoding": "gzip"})
    answer = urllib.request.urlopen(request, timeout=10)
    body = answer.read()
    if answer.headers.get("Content-Encoding") == "gzip":
        body = zlib.decompress(body, 31)
    print(name, answer.status, len(body), hashlib.sha256(body).hexdigest())
END
}

fetch() {
  "$python" "$work/fetch.py" "http://127.0.0.1:$port/" "$@"
}

# has_new_workers OLD...: none of the old ones is left, and two are there.
has_new_workers() {
  local now
  now=$(pgrep -P "$server" | tr '\n' ' ')
  [[ $(wc -w <<<"$now") -eq 2 ]] && ! grep -qwE "${*// /|}" <<<"$now"
}

life() {
  local mode=$1
  directory=$work/nginx/$mode
  port=$(free_port)
  mkdir -p "$directory" "$work/nginx/profiles"
  print_config >"$directory/nginx.conf"
  use_mode "$mode" nginx
  start_server "$directory/log" nginx -p "$directory" -e "$directory/error.log" -c "$directory/nginx.conf"
  wait_for 20 fetch small || return 1
  wrk -t1 -c16 -d${load_s}s "http://127.0.0.1:$port/small" >"$directory/wrk" 2>&1 || return 1
  wrk -t1 -c8 -d1s -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/proxied/page" >>"$directory/wrk" 2>&1 || return 1
  local workers
  workers=$(pgrep -P "$server" | tr '\n' '|')
  kill -HUP "$server"
  wait_for 20 has_new_workers "${workers%|}" || return 1
  fetch small page big proxied/page proxied/big >"$directory/fetched" || return 1
  kill -QUIT "$server"
  await_end "$server"
}

begin "$@"
if require nginx nginx && require wrk wrk && require pgrep procps; then
  mkdir "$work/files"
  echo hello >"$work/files/small"
  seq 1 4000 >"$work/files/page"
  seq 1 700000 >"$work/files/big"
  print_fetcher >"$work/fetch.py"
  for mode in "${modes[@]}"; do
    if ! life "$mode"; then
      fail nginx "$mode: $(cat "$directory/log" "$directory/error.log" | tail -n 1)"
      break
    fi
    expect_silence nginx "$directory/log" "$directory/error.log" || break
    problem=$(grep -hE 'Non-2xx|Socket errors' "$directory/wrk" || grep -hE '\[(crit|alert|emerg)\]' "$directory/error.log")
    if [[ -n $problem ]] || [[ $(grep -c 'requests in' "$directory/wrk") -ne 2 ]]; then
      fail nginx "$mode: ${problem:-wrk did not finish}"
      break
    fi
    if [[ $(wc -l <"$directory/fetched") -ne 5 ]] || ! cmp -s "$work/nginx/plain/fetched" "$directory/fetched"; then
      fail nginx "$mode: other files: $(diff "$work/nginx/plain/fetched" "$directory/fetched" | head -n 2)"
      break
    fi
  done
  if [[ $failed -eq 0 ]]; then
    ok nginx
    expect_profiles nginx 5 'ngx_'
  fi
fi
finish
