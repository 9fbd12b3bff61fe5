#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# git makes, clones and repacks a repository of its own. Catches trouble in threaded packing with large windows and in
# trees of short child processes.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly commit_count=120

# A fast-import stream: files that grow and change from commit to commit, so that there is something to delta.
print_history() {
  awk -v commits=$commit_count 'BEGIN {
    for (c = 1; c <= commits; c++) {
      printf "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 3\nc%02d\n", 1600000000 + c * 60, c % 100
      for (f = 0; f < 12; f++) {
        text = ""
        for (i = 0; i < 40 + c * 4; i++) text = text "line " (i * 7919 + f + (i % 10 == c % 10) * c) " of file " f "\n"
        printf "M 100644 inline dir%d/file%d\ndata %d\n%s\n", f % 3, f, length(text), text
      }
    }
  }'
}

begin "$@"
if require git git; then
  export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.com
  print_history >"$work/history"
  # shellcheck disable=SC2016
  run_both git bash -c '
    set -e
    git init -q -b main --bare made.git
    git -C made.git fast-import --quiet <"$0"
    git clone -q --no-local made.git clone
    cd clone
    git -c pack.threads=2 gc -q --aggressive --prune=now
    git fsck --strict --no-progress
    git rev-parse HEAD
    git log --stat --format=%H%n%s
    git cat-file --batch-all-objects --batch-check
    git blame dir0/file0
    git -c pack.threads=1 repack -q -a -d -f
    cat .git/objects/pack/*.pack >../pack' "$work/history"
  expect_same git pack
  expect_profiles git 10 '.*'
fi
finish
