# SPDX-License-Identifier: MIT
# What the scripts share: where the project is, and getting Debian packages. Sourced, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build

BUILD_PACKAGES="gcc libc6-dev binutils meson ninja-build pkg-config libmimalloc-dev libprotobuf-c-dev
  protobuf-c-compiler zlib1g-dev libunwind-dev"

# Ends the script with one line that says what is wrong.
die() {
  echo "$(basename "$0"): $*" >&2
  exit 2
}

# The packages of the list that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || echo "$package"
  done
}

# Installs what is missing of the list, as root or through sudo; says so, and says what it could not get.
need_packages() {
  local missing
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  missing=$(echo "$missing" | tr '\n' ' ')
  command -v apt-get >/dev/null || die "missing: $missing; there is no apt-get here to install them with"
  local sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "missing: $missing; run as root, or install them"
    sudo=(sudo)
  fi
  echo "installing: $missing"
  local log
  log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
    >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: $missing"
  fi
  rm -f "$log"
}

# Configures a build directory once. Arguments: directory, meson options.
configure() {
  local directory=$1
  shift
  [ -f "$directory/build.ninja" ] || meson setup "$directory" "$ROOT" "$@" >"$directory.log" 2>&1 ||
    { cat "$directory.log" >&2; die "configuring $directory failed"; }
  rm -f "$directory.log"
}

# Builds; prints only what went wrong.
compile() {
  local output
  output=$(ninja -C "$@" 2>&1) || { echo "$output" >&2; die "building in $1 failed"; }
}

# node and npm, from wherever they are; else Debian's.
need_npm() {
  command -v npm >/dev/null && command -v node >/dev/null || need_packages nodejs npm
}
