#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Programs that move much data: sqlite3, openssl, tar, gzip, xz, sort. Catches damaged large blocks, realloc of large
# blocks, and calloc that returns memory that is not zero.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly line_count=400000

database() {
  require sqlite3 sqlite3 || return
  run_both sqlite sqlite3 rows.db ".read $here/programs/rows.sql"
  expect_same sqlite rows.db
  expect_profiles sqlite 1 'sqlite3_'
}

cryptography() {
  require openssl openssl || return
  # shellcheck disable=SC2016
  run_both openssl bash -c '
    set -e
    openssl dgst -sha256 <"$0"
    openssl dgst -sha3-512 <"$0"
    openssl enc -aes-256-ctr -K "$(printf "%064d" 7)" -iv "$(printf "%032d" 9)" -in "$0" -out cipher
    openssl enc -d -aes-256-ctr -K "$(printf "%064d" 7)" -iv "$(printf "%032d" 9)" -in cipher | cmp - "$0"
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key 2>/dev/null ||
      openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key
    openssl pkey -in key -pubout -out public
    openssl dgst -sha256 -sign key -out signature "$0"
    openssl dgst -sha256 -verify public -signature signature "$0"
    openssl req -x509 -new -key key -subj /CN=localhost -days 2 -out certificate
    openssl verify -CAfile certificate certificate
    openssl x509 -in certificate -noout -subject' "$work/lines"
  expect_same openssl cipher
  expect_profiles openssl 8 'CRYPTO_|OPENSSL_|EVP_|BUF_'
}

archives() {
  require tar tar && require gzip gzip && require xz xz-utils && require sort coreutils || return
  # shellcheck disable=SC2016
  run_both archives bash -c '
    set -e -o pipefail
    mkdir tree
    split -l 20000 "$0" tree/part-
    tar --sort=name --owner=0 --group=0 --mtime=@0 -cf all.tar tree
    gzip -nk -6 all.tar
    xz -k -1 -T2 --block-size=4MiB all.tar
    gzip -dc all.tar.gz | cmp - all.tar
    xz -dc -T2 all.tar.xz | cmp - all.tar
    mkdir again && tar -xJf all.tar.xz -C again && diff -r tree again/tree
    sort --parallel=2 -S 8M -T . -k2,2n -k1,1 "$0" >sorted
    sort -u -S 64M sorted | cksum
    sort -R --random-source="$0" -S 64M "$0" | sort | cmp - <(sort "$0")' "$work/lines"
  expect_same archives all.tar all.tar.gz all.tar.xz sorted
  expect_profiles archives 8 'lzma_|xmalloc|xrealloc|x2realloc|_IO_|opendir|fdopendir|.*'
}

begin "$@"
awk -v n=$line_count 'BEGIN { for (i = 1; i <= n; i++) printf "%x line %d of many %s\n", (i * 7919) % 1000003, (i * 31) % n, i % 17 }' \
  >"$work/lines"
database
cryptography
archives
finish
