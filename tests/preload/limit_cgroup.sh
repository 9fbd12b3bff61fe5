#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A container of 300 MiB: a program that has at most 200 MiB in use, but needs more than 600 when nothing is
# given back, must not be killed with HALLOC_MEMLIMIT=90%. Also the check of the check: without a limit it
# does need more than 600.
#
# The cgroup is made below the one this script runs in, so that all limits set from outside go on to hold, and
# removed at the end; no existing cgroup is changed. Version 1 or 2, whichever has the memory controller here;
# for version 2 also through systemd-run. Exit status 77 with one line where none of these can be had.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly memory_mib=300 run_s=60 most_live_mib=200 least_without_mib=600
readonly memory_bytes=$((memory_mib * 1024 * 1024))
cgroup='' # directory of ours
version=''
why=''

# mount_of TYPE OPTION: mount point and root of the first such mount.
mount_of() {
  awk -v type="$1" -v option="$2" '
    {
      for (i = 7; $i != "-"; i++);
      if ($(i + 1) == type && (option == "" || "," $(i + 3) "," ~ "," option ",")) { print $5, $4; exit }
    }
  ' /proc/self/mountinfo
}

# own_cgroup TYPE OPTION PATTERN: the directory of the cgroup this process is in, for the line of
# /proc/self/cgroup.
own_cgroup() {
  local point root path
  read -r point root < <(mount_of "$1" "$2") || return 1
  path=$(sed -n "s/$3//p" /proc/self/cgroup | head -n 1)
  [[ -n $path ]] || return 1
  [[ $root == / ]] || path=${path#"$root"}
  echo "$point${path%/}"
}

make_v1() {
  local own
  own=$(own_cgroup cgroup memory '^[0-9]*:\([^:]*,\)*memory\(,[^:]*\)*:') ||
    { why+="no memory controller of version 1; " && return 1; }
  [[ -w $own ]] || { why+="$own is not writable; " && return 1; }
  mkdir "$own/halloc-limit.$$" 2>"$work/cgroup.err" || { why+="$(cat "$work/cgroup.err"); " && return 1; }
  cgroup=$own/halloc-limit.$$ version=1
  echo "$memory_bytes" >"$cgroup/memory.limit_in_bytes" || { why+="the limit cannot be set; " && return 1; }
  # No way out into swap. Absent where swap is not counted.
  [[ ! -w $cgroup/memory.memsw.limit_in_bytes ]] || echo "$memory_bytes" >"$cgroup/memory.memsw.limit_in_bytes"
}

make_v2() {
  local own
  own=$(own_cgroup cgroup2 '' '^0::') || { why+="no cgroup of version 2; " && return 1; }
  grep -qw memory "$own/cgroup.controllers" 2>/dev/null ||
    { why+="version 2 has no memory controller here; " && return 1; }
  grep -qw memory "$own/cgroup.subtree_control" ||
    { why+="$own does not hand the memory controller down, nor can while it has processes; " && return 1; }
  mkdir "$own/halloc-limit.$$" 2>"$work/cgroup.err" || { why+="$(cat "$work/cgroup.err"); " && return 1; }
  cgroup=$own/halloc-limit.$$ version=2
  echo "$memory_bytes" >"$cgroup/memory.max" || { why+="the limit cannot be set; " && return 1; }
  [[ ! -w $cgroup/memory.swap.max ]] || echo 0 >"$cgroup/memory.swap.max"
}

# A scope of systemd: no directory of ours, so kills are seen by the exit status alone.
make_scope() {
  command -v systemd-run >/dev/null || { why+="no systemd-run; " && return 1; }
  scope=(systemd-run --quiet --scope --collect -p "MemoryMax=${memory_mib}M" -p MemorySwapMax=0)
  [[ $(id -u) -eq 0 ]] || scope+=(--user)
  timeout 10 "${scope[@]}" true 2>"$work/cgroup.err" ||
    { why+="systemd-run: $(head -n 1 "$work/cgroup.err"); " && return 1; }
  version=scope
}
scope=()

remove_cgroup() {
  local try
  [[ -n $cgroup && -d $cgroup ]] || return 0
  for ((try = 0; try < 100; try++)); do
    rmdir "$cgroup" 2>/dev/null && cgroup='' && return 0
    sleep "$poll_s"
  done
  echo "cannot remove $cgroup" >&2
}

# kills: how many processes the kernel has killed in our cgroup for lack of memory.
kills() {
  case $version in
    1) sed -n 's/^oom_kill //p' "$cgroup/memory.oom_control" ;;
    2) sed -n 's/^oom_kill //p' "$cgroup/memory.events" ;;
    *) echo 0 ;;
  esac
}

peak_mib() {
  local file=memory.peak
  [[ $version == 2 ]] || file=memory.max_usage_in_bytes
  [[ -r $cgroup/$file ]] && echo "$(($(cat "$cgroup/$file") / 1024 / 1024)) MiB" || echo unknown
}

# run_limited NAME ARGUMENT...: churn in the cgroup, leaving NAME.out, NAME.err and its status in `status`.
status=0
run_limited() {
  local name=$1
  shift
  {
    (
      [[ -z $cgroup ]] || echo "$BASHPID" >"$cgroup/cgroup.procs" || exit 2
      exec timeout -k 5 "$run_s" "${scope[@]}" env LD_PRELOAD="$library" HALLOC_MEMLIMIT=90% "$work/bin/churn" "$@"
    ) >"$work/$name.out" 2>"$work/$name.err" </dev/null
    status=$?
  } 2>/dev/null # the shell's own word about a process that was killed
}

# figure NAME FILE: the number after a word of the program's last line.
figure() {
  sed -n "s/.*\\b$1 \\(-\\?[0-9]\\+\\).*/\\1/p" "$2" | tail -n 1
}

without_limit() {
  local live rss
  local out=$work/without.out
  env LD_PRELOAD="$library" HALLOC_BACKGROUND=0 timeout "$run_s" "$work/bin/churn" >"$out" 2>"$work/without.err"
  status=$?
  [[ $status -eq 0 ]] || { fail without_limit "status $status: $(tail -n 1 "$out")" && return; }
  live=$(figure peak-live-MiB "$out") rss=$(figure peak-RSS-MiB "$out")
  if [[ $live -le $most_live_mib && $rss -ge $least_without_mib ]]; then
    ok "without_limit: $live MiB in use at most, $rss MiB resident"
  else
    fail without_limit "$live MiB in use at most, $rss MiB resident: no test of a limit"
  fi
}

within_limit() {
  local name=$1 before killed limit
  shift
  before=$(kills)
  run_limited "$name" "$@"
  killed=$(($(kills) - before))
  limit=$(figure limit "$work/$name.out")
  if [[ $killed -ne 0 || $status -eq 137 ]]; then
    fail "$name" "killed for lack of memory after: $(tail -n 1 "$work/$name.out"); $(head -n 1 "$work/$name.err")"
  elif [[ $status -ne 0 ]]; then
    fail "$name" "status $status: $(tail -qn 1 "$work/$name.out" "$work/$name.err" | tr '\n' ' ')"
  elif [[ $limit -ne $((memory_bytes * 9 / 10)) ]]; then
    fail "$name" "the limit in force is $limit, not 90 % of $memory_bytes"
  else
    ok "$name: peak RSS $(figure peak-RSS-MiB "$work/$name.out") MiB of $memory_mib, cgroup's peak so far $(peak_mib)"
  fi
}

begin "$@"
trap 'remove_cgroup; clean_up' EXIT
require gcc gcc || finish
gcc -O2 -Wall -o "$work/bin/churn" "$here/churn.c" -lpthread || { fail churn "does not compile" && finish; }
without_limit
if ! make_v1; then
  remove_cgroup
  make_v2 || { remove_cgroup && make_scope; } || {
    [[ $failed -eq 0 ]] || finish
    echo "skip limit_cgroup: no cgroup can be made here: ${why%; }"
    exit 77
  }
fi
echo "a cgroup of version $version, ${cgroup:-made by systemd}"
within_limit main_thread
within_limit parked_threads threads
finish
