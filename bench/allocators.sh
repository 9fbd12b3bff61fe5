# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# The allocators, the packages they come in, and how each is preloaded.

package_of_allocator() {
  case $1 in
    mimalloc | wrapper) echo libmimalloc2.0 ;;
    jemalloc | jemalloc-prof) echo libjemalloc2 ;;
    tcmalloc) echo libtcmalloc-minimal4 ;;
    tcmalloc-sampled) echo libgoogle-perftools4 ;;
  esac
}

packages_of_row() {
  case $1 in
    redis) echo redis-server redis-tools ;;
    gcc) echo gcc ;;
    gxx) echo g++ ;;
    sqlite) echo sqlite3 ;;
    lua) echo lua5.4 ;;
    perl) echo perl ;;
    rocksdb) echo rocksdb-tools ;;
  esac
}

wanted_packages() {
  local item
  for item in "${allocators[@]}"; do package_of_allocator "$item"; done
  for item in "${selected_rows[@]}"; do packages_of_row "$item" | tr ' ' '\n'; done
  command -v python3 >/dev/null || echo python3
  if $is_counting; then echo valgrind; fi
}

package_version() {
  dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null | sed -n 's/^installed //p' || true
}

install_packages() {
  command -v apt-get >/dev/null || return 0
  local package missing=() as_root=()
  while read -r package; do
    [[ -n $(package_version "$package") ]] || missing+=("$package")
  done < <(wanted_packages | sort -u)
  ((${#missing[@]} > 0)) || return 0
  echo "bench: installing ${missing[*]}" >&2
  if ((EUID != 0)); then as_root=(sudo -n); fi
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c \
    'apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@"' sh "${missing[@]}" >&2; then
    die "cannot install: ${missing[*]}. Install them by hand, or leave them out with --allocators and --only."
  fi
}

present=()
missing_allocators=()
library=''
settings=()

find_library() {
  /sbin/ldconfig -p | awk -v name="$1" '$1 == name && !seen++ { print $NF }'
}

# choose_halloc RATE
choose_halloc() {
  library=$build/libhalloc.so
  settings=("HALLOC_MEMPROFILERATE=$1")
}

# Sets `library` to the file that is preloaded, and `settings` to what the allocator finds in its environment.
# glibc is preloaded too: a program that was linked to another allocator (Debian's redis) then uses glibc's.
choose_allocator() {
  settings=()
  case $1 in
    glibc) library=$(find_library libc.so.6) ;;
    mimalloc) library=$(find_library libmimalloc.so.2) ;;
    jemalloc) library=$(find_library libjemalloc.so.2) ;;
    jemalloc-prof)
      library=$(find_library libjemalloc.so.2)
      settings=('MALLOC_CONF=prof:true,lg_prof_sample:19')
      ;;
    tcmalloc) library=$(find_library libtcmalloc_minimal.so.4) ;;
    tcmalloc-sampled)
      library=$(find_library libtcmalloc.so.4)
      settings=(TCMALLOC_SAMPLE_PARAMETER=524288)
      ;;
    wrapper) library=$programs/libmi_wrapper.so ;;
    halloc) choose_halloc 524288 ;;
    halloc-0) choose_halloc 0 ;;
    halloc-16k) choose_halloc 16384 ;;
    halloc-1) choose_halloc 1 ;;
  esac
  settings=("LD_PRELOAD=$library" "${settings[@]}")
}

# Prints what a first program under the allocator has to say on stderr.
start_once() {
  { timeout "$run_limit_s" env "${settings[@]}" "$programs/pair" --iterations 1 >/dev/null; } 2>&1
}

# ld.so only warns about a library that it cannot preload, and the row would silently be glibc's.
find_allocators() {
  local name warning
  for name in "${allocators[@]}"; do
    choose_allocator "$name"
    if [[ -z $library || ! -e $library ]]; then
      missing_allocators+=("$name (no ${library:-library of that name})")
    elif warning=$(start_once) && [[ -z $warning ]]; then
      present+=("$name")
    else
      missing_allocators+=("$name (does not start cleanly: ${warning:-no message})")
    fi
  done
  ((${#present[@]} > 0)) || die "none of the allocators is there: ${missing_allocators[*]}"
}
