# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# What a report says about the machine and the versions.

print_missing() {
  local what
  for what in "${missing_allocators[@]}" "${missing_rows[@]}"; do printf 'not measured: %s\n' "$what"; done
}

print_preloads() {
  local name
  for name in "${present[@]}"; do
    choose_allocator "$name"
    settings[0]=$(readlink -f "$library")
    printf 'measured: %s: %s\n' "$name" "${settings[*]}"
  done
}

print_packages() {
  local package
  for package in libc6 libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 libgoogle-perftools4 redis-server \
    sqlite3 lua5.4 perl g++ rocksdb-tools postgresql; do
    printf 'package: %s %s\n' "$package" "$(package_version "$package" | grep . || echo 'not installed')"
  done
}

print_environment() {
  printf 'date: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  printf 'halloc: %s\n' "$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
  printf 'cpu: %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | grep . || uname -m)"
  printf 'cores: %s\n' "$(nproc)"
  printf 'memory: %s\n' "$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
  printf 'kernel: %s\n' "$(uname -sr)"
  printf 'python: %s\n' "$("$python" -c 'import platform; print(platform.python_version())')"
  printf 'compiler: %s\n' "$(cc --version | head -n 1)"
  printf 'load: %s (average of the last minute when the run began)\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
  printf 'rounds: %s%s\n' "$rounds" "$(choose ', quick' '')"
  print_packages
  print_preloads
  print_missing
}

# The lines that benchstat knows, at the top of the Go benchmark text.
print_go_header() {
  printf 'goos: linux\ngoarch: %s\npkg: halloc/bench\n' "$(uname -m)"
  grep '^cpu: ' "$out/environment.txt"
}
