#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The memory limit of halloc beside Go's: ramp.c under halloc and ramp.go, which do the same work, each
# without and with a limit of 256 MiB. One table, C and Go side by side; then what the limit promises, kept or
# not.
#
#   run.sh [--quick] [--rounds N] [--seconds N] [--out DIRECTORY] [LIBHALLOC]
#
# LIBHALLOC: build/libhalloc.so unless given. Rounds (5) alternate between the two; times are the shortest, amounts
# of memory the largest. --seconds: length of the run above the limit (10; the promise is for 60). The
# directory keeps the output of every run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root
readonly mib=256
library=$root/build/libhalloc.so
seconds=10
rounds=5
operations=2000000
out=''

usage() {
  echo "usage: run.sh [--quick] [--rounds N] [--seconds N] [--out DIRECTORY] [LIBHALLOC]" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --quick) operations=500000 seconds=3 rounds=1 ;;
    --rounds) rounds=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --out) out=${2:?} && shift ;;
    -*) usage ;;
    *) library=$1 ;;
  esac
  shift
done

die() {
  echo "run.sh: $*" >&2
  exit 2
}

[[ -r $library ]] || die "$library is not there; run scripts/build"
command -v go >/dev/null || die "go is not installed; it is in the Debian package golang-go"
library=$(readlink -f "$library")
if [[ -z $out ]]; then
  out=$(mktemp -d "${TMPDIR:-/tmp}/halloc-limit.XXXXXX")
  trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out"
unset LD_PRELOAD GOMEMLIMIT GOGC GODEBUG "${!HALLOC_@}"

build() {
  cc -std=gnu11 -D_GNU_SOURCE -O2 -I"$root/include" -o "$out/ramp_c" "$here/ramp.c" "$root/bench/bench.c" \
    "$root/bench/rss.c" -lpthread
  GOTOOLCHAIN=local GO111MODULE=off go build -p 1 -o "$out/ramp_go" "$here/ramp.go"
}

# run ROUND LANGUAGE free|limit MODE NAME [OPTION...]: leaves its lines in NAME.LANGUAGE.KIND.ROUND, and
# standard error beside it. A run that fails leaves no figures; its last words are printed below the table.
run() {
  local language=$2 kind=$3 mode=$4 file=$out/$5.$2.$3.$1 settings=() status=0
  shift 5
  [[ $language == go ]] || settings+=("LD_PRELOAD=$library")
  [[ $kind == free ]] || settings+=("$([[ $language == go ]] && echo GOMEMLIMIT || echo HALLOC_MEMLIMIT)=${mib}MiB")
  env "${settings[@]}" "$out/ramp_$language" "$mode" --mib "$mib" "$@" >"$file" 2>"$file.err" || status=$?
  [[ $status -eq 0 ]] || echo "${file##*/}: status $status: $(tail -n 1 "$file.err")" >>"$out/failures"
}

run_round() {
  local round=$1 language kind
  for language in c go; do
    for kind in free limit; do
      run "$round" $language $kind ramp ramp --operations "$operations"
      run "$round" $language $kind shift shift --operations "$operations"
      run "$round" $language $kind refill refill-8192 --size 8192 --keep 2 --fill 90
      run "$round" $language $kind refill refill-1024 --size 1024 --keep 20 --fill 90
      run "$round" $language $kind refill refill-256 --size 256 --keep 2 --fill 50
      run "$round" $language $kind over over --seconds "$seconds"
    done
    run "$round" $language free lower lower
  done
}

# One line per figure: benchmark, run (c.free ...), unit, value. Lines on standard error are a unit as well,
# without that of a version that does not know the variable.
figures() {
  local name file run
  for name in ramp shift refill-8192 refill-1024 refill-256 over lower; do
    for file in "$out/$name".{c,go}.{free,limit}.*[0-9]; do
      [[ -e $file ]] || continue
      run=${file#"$out/$name."}
      awk -v run="${run%.*}" -v lines="$(grep -vc 'it is ignored' "$file.err")" '
        /^Benchmark/ {
          sub(/^BenchmarkLimit/, "", $1)
          for (i = 3; i < NF; i += 2) print $1, run, $(i + 1), $i
          print $1, run, "stderr-lines", lines
        }' "$file"
    done
  done | awk '
    { key = $1 " " $2 " " $3; if (!(key in count)) order[++keys] = key; all[key, ++count[key]] = $4 }
    # The shortest of times and processor shares, the largest of everything else.
    function extreme(key,    i, k, n, swap) {
      n = count[key]
      for (i = 1; i <= n; i++) for (k = i + 1; k <= n; k++)
        if (all[key, k] < all[key, i]) { swap = all[key, i]; all[key, i] = all[key, k]; all[key, k] = swap }
      return all[key, key ~ /ns(\/op)?$|%$/ ? 1 : n]
    }
    END { for (i = 1; i <= keys; i++) print order[i], extreme(order[i]) }'
}

table() {
  awk -v mib="$mib" '
    { value[$1, $2, $3] = $4; if (!($1 in seen)) { seen[$1] = 1; name[++names] = $1 } }
    function get(run, unit, factor, format) {
      return ((n, run, unit) in value) ? sprintf(format, value[n, run, unit] / factor) : "-"
    }
    function ratio(language,    free, limit) {
      free = value[n, language ".free", "ns/op"]; limit = value[n, language ".limit", "ns/op"]
      return free > 0 && limit > 0 && n !~ /^Refill/ ? sprintf("%.2f", free / limit) : "-"
    }
    function time(run) {
      return n ~ /^Refill/ ? "-" : get(run, "ns/op", 1, "%.0f")
    }
    function half(language) {
      printf " | %8s %8s %5s %8s %8s %8s %8s", time(language ".free"), time(language ".limit"), ratio(language),
        get(language ".free", "limited-bytes", M, "%.1f"), get(language ".limit", "limited-bytes", M, "%.1f"),
        get(language ".limit", "RSS-bytes", M, "%.1f"), get(language ".limit", "peak-RSS-bytes", M, "%.1f")
    }
    BEGIN { M = 1024 * 1024 }
    END {
      printf "limit %d MiB; free: without limit. Memory in MiB: the largest Sys - HeapReleased in any\n", mib
      print "millisecond, RSS at the end of the step with the limit, and its peak so far."
      printf "rate: operations per second with the limit / without.\n\n"
      printf "%-45s | %-59s | %-59s\n", "", "C, halloc", "Go"
      head = sprintf("%8s %8s %5s %8s %8s %8s %8s", "ns/op", "ns/op", "rate", "limited", "limited", "RSS", "peak")
      sub_ = sprintf("%8s %8s %5s %8s %8s %8s %8s", "free", "limit", "", "free", "limit", "limit", "limit")
      printf "%-34s %10s | %s | %s\n%-34s %10s | %s | %s\n", "", "live", head, head, "", "", sub_, sub_
      for (i = 1; i <= names; i++) {
        n = name[i]
        if (n == "Lower") continue
        printf "%-34s %10s", n, get("c.free", "live-bytes", M, "%.1f")
        half("c"); half("go"); printf "\n"
      }
      split("c go", languages, " ")
      printf "\n"
      for (i = 1; i <= 2; i++) {
        l = languages[i]; n = "Lower"
        printf "%-3s lowered below use: %s ms (the call: %s ms), from %s to %s MiB, limit %s\n", l,
          get(l ".free", "ns/op", 1e6, "%.1f"), get(l ".free", "call-ns", 1e6, "%.1f"),
          get(l ".free", "before-bytes", M, "%.1f"), get(l ".free", "after-bytes", M, "%.1f"),
          get(l ".free", "limit-bytes", M, "%.1f")
        n = "Over"
        printf "%-3s above the limit: CPU %s %% of one core (without limit %s %%), releasing %s %%, GC %s %%; ", l,
          get(l ".limit", "cpu-%", 1, "%.0f"), get(l ".free", "cpu-%", 1, "%.0f"),
          get(l ".limit", "release-cpu-%", 1, "%.2f"), get(l ".limit", "gc-cpu-%", 1, "%.1f")
        printf "times over %s, lines on stderr %s\n", get(l ".limit", "exceeded", 1, "%d"),
          get(l ".limit", "stderr-lines", 1, "%d")
      }
    }'
}

# The promises of the limit, for halloc only.
verdict() {
  awk -v mib="$mib" '
    { value[$1, $2, $3] = $4; names[$1] = 1 }
    function say(holds, text) { printf "%-4s %s\n", holds ? "ok" : "FAIL", text }
    END {
      M = 1024 * 1024
      for (percent = 10; percent <= 80; percent += 10) {
        n = "Ramp/live=" percent "%"
        most = value[n, "c.limit", "limited-bytes"] / M
        if (most > worst) worst = most
        free = value[n, "c.free", "ns/op"]; limit = value[n, "c.limit", "ns/op"]
        if (percent <= 60 && limit > 0 && (slowest == 0 || free / limit < slowest)) slowest = free / limit
      }
      say(worst > 0 && worst <= mib + 4, sprintf("ramp: at most %.1f MiB; promised %d", worst, mib + 4))
      say(slowest >= 0.95, sprintf("ramp: to 60 %% live at least %.2f of the unlimited rate; promised 0.95", slowest))
      for (n in names) if (n ~ /^Refill/) {
        rss = value[n, "c.limit", "RSS-bytes"] / M
        say(rss > 0 && rss <= 1.1 * mib, sprintf("%s: RSS is %.2f of the limit; promised 1.10", n, rss / mib))
      }
      ms = value["Lower", "c.free", "ns/op"] / 1e6
      has = value["Lower", "c.free", "reached"] == 1
      say(has && ms <= 100, has ? sprintf("lowered: %.1f ms; promised 100", ms) : "lowered: never below the new limit")
      free = value["Over", "c.free", "ns/op"]; limit = value["Over", "c.limit", "ns/op"]
      rate = limit > 0 ? free / limit : 0
      say(rate >= 0.5, sprintf("over: %.2f of the unlimited rate; promised 0.5", rate))
      has = ("Over", "c.limit", "release-cpu-%") in value
      cpu = value["Over", "c.limit", "release-cpu-%"]
      say(has && cpu <= 10, has ? sprintf("over: release CPU %.2f %%; promised 10", cpu) : "over: no release CPU known")
      count = value["Over", "c.limit", "exceeded"]
      say(count > 0, sprintf("over: the counter rose by %d", count))
      lines = value["Over", "c.limit", "stderr-lines"]
      say(lines == 1, sprintf("over: %d lines on stderr; promised 1 in the first minute", lines))
    }'
}

build
rm -f "$out/failures"
for ((round = 1; round <= rounds; round++)); do run_round "$round"; done
figures >"$out/figures"
table <"$out/figures"
echo
verdict <"$out/figures"
[[ ! -s $out/failures ]] || { echo && cat "$out/failures"; }
