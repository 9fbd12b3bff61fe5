#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a preload must not change about a process: descriptors, threads, children, and whose profile is written. Catches
# descriptors kept open, helper threads, slow or failing starts, and a forked child that replaces its parent's profile.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly storm_size=150

storms() {
  # shellcheck disable=SC2016
  run_both storm bash -c '
    for ((i = 0; i < $0; i++)); do
      bash -c "echo $i; exit $((i % 7))" | cat
      echo "${PIPESTATUS[@]} $(echo "in $i" | tr a-z A-Z)"
    done
    for ((i = 0; i < 20; i++)); do (exit $i) & done
    wait
    yes storm | head -n 20000 | cksum' "$storm_size"
  expect_same storm
  # Three that exec per round; subshells leave one where they end through exit().
  expect_profiles storm $((storm_size * 3)) 'xmalloc|.*'
}

small_programs() {
  if require ssh openssh-client; then
    run_both ssh_version ssh -V
    expect_same ssh_version
    run_both ssh_keygen bash -c 'ssh-keygen -q -t ed25519 -N "" -f key && ssh-keygen -y -f key | cut -d " " -f 1'
    expect_same ssh_keygen
  fi
  run_both environment bash -c 'env | grep -vE "^(LD_PRELOAD|HALLOC_|PWD=|OLDPWD=|_=)" | sort'
  expect_same environment
}

# Making a user namespace fails in a process with a second thread.
single_thread() {
  require unshare util-linux || return
  if ! unshare -Ur true 2>"$work/unshare.err"; then
    # The kernel or a container forbids it to everyone; the number of threads is still checked by descriptors.
    run_both user_namespace bash -c 'unshare -Ur true 2>&1; echo $?'
  else
    run_both user_namespace unshare -Ur true
  fi
  expect_same user_namespace
}

descriptors() {
  require gcc gcc && gcc -O1 -pthread -o "$work/bin/fds" "$here/programs/fds.c" || return
  run_both descriptors "$work/bin/fds"
  expect_same descriptors verdict
  local mode
  for mode in "${modes[@]}"; do
    [[ $(cat "$work/descriptors/$mode/verdict") == fine ]] ||
      fail descriptors_verdict "$mode: $(cat "$work/descriptors/$mode/verdict")"
    grep -q '^threads: thread$' "$work/descriptors/$mode/out" || fail descriptors_threads "$mode: more than one"
  done
}

zero_blocks() {
  require gcc gcc && gcc -O1 -pthread -o "$work/bin/calloc_threads" "$here/programs/calloc_threads.c" || return
  # The window is small: several tries.
  local tries=(bash -c 'for i in 1 2 3 4 5 6 7 8; do "$0" || exit; done' "$work/bin/calloc_threads")
  run_both calloc_threads "${tries[@]}"
  run_in 1 calloc_threads "${tries[@]}"
  modes+=(1)
  expect_same calloc_threads
  unset 'modes[-1]'
}

# fork_order ORDER: the path has no %p.
fork_order() {
  local name=fork_$1 directory=$work/fork_$1 started
  mkdir -p "$directory"
  # The command substitution ends when the child has closed its standard output too: at its very end.
  started=$(timeout "$run_limit_s" env "LD_PRELOAD=$library" HALLOC_MEMPROFILERATE=4096 \
    "HALLOC_MEMPROFILE=$directory/one.pb.gz" "$work/bin/forks" "$1" 2>"$work/err")
  expect_silence "$name" "$work/err" || return
  if ! "$python" "$here/read_profile.py" "$directory/one.pb.gz" >"$work/totals" 2>"$work/totals.err"; then
    fail "$name" "$(cat "$work/totals.err")"
  elif ! grep -q "\"pid\": $started," "$work/totals"; then
    fail "$name" "process $started was started, the profile is $(grep -o '"pid": [0-9]*' "$work/totals")"
  elif [[ $(ls "$directory") != one.pb.gz ]]; then
    fail "$name" "files left: $(ls "$directory" | tr '\n' ' ')"
  else
    ok "$name"
  fi
}

fork_behaviour() {
  require gcc gcc && gcc -O1 -o "$work/bin/forks" "$here/programs/forks.c" || return
  fork_order child-first
  fork_order parent-first
  run_in 4096 fork_each "$work/bin/forks" child-first
  expect_profiles fork_each 2 'allocate|main'
}

begin "$@"
storms
small_programs
single_thread
descriptors
zero_blocks
fork_behaviour
finish
