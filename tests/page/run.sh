#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs a file of tests with node: run.sh FILE.mjs ARGUMENT... A missing program is a failure, never a silent
# skip.
set -u
for program in node "${CHROMIUM:-chromium}"; do
  command -v "$program" >/dev/null && continue
  echo "FAIL require_$program: it is not installed; it is in the Debian package ${program/#node/nodejs}"
  exit 1
done
exec node "$@"
