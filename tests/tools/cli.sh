#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The halloc command, as a user meets it: usage errors, programs that cannot be preloaded, and `heap` on
# profiles with known numbers, compared with `go tool pprof -top` where that is installed.
#
# usage: cli.sh BUILD_DIR   (the directory that holds the halloc command)
#
# Prints `ok NAME` or `FAIL NAME` per check, and `skip NAME` with the reason; exits 1 when any failed.
set -u

here=$(cd "$(dirname "$0")" && pwd)
halloc=$(cd "${1:?usage: cli.sh BUILD_DIR}" && pwd)/halloc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset LD_PRELOAD
unset "${!HALLOC_@}"
failed=0

ok() { echo "ok $1"; }
fail() {
  echo "FAIL $1${2:+: $2}"
  failed=1
}

# check NAME COMMAND...: the command succeeds.
check() {
  local name=$1
  shift
  if "$@"; then ok "$name"; else fail "$name"; fi
}

# refuses NAME TEXT ARGUMENT...: exit 2, nothing on stdout, exactly one line on stderr that holds TEXT.
refuses() {
  local name=$1 text=$2 status=0
  shift 2
  timeout 60 "$halloc" "$@" >out 2>err </dev/null || status=$?
  if [ $status -ne 2 ]; then
    fail "$name" "exit status $status instead of 2"
  elif [ -s out ]; then
    fail "$name" "printed $(head -c 100 out)"
  elif [ "$(wc -l <err)" -ne 1 ] || ! grep -q '^halloc: ' err; then
    fail "$name" "not one line: $(head -c 300 err)"
  elif ! grep -qF -- "$text" err; then
    fail "$name" "no '$text' in: $(cat err)"
  else
    ok "$name"
  fi
}

# prints NAME TEXT ARGUMENT...: exit 0 and TEXT on stdout.
prints() {
  local name=$1 text=$2
  shift 2
  if ! "$halloc" "$@" >out 2>err; then
    fail "$name" "exit status $?: $(cat err)"
  elif ! grep -qF -- "$text" out; then
    fail "$name" "no '$text' in: $(head -c 1000 out)"
  else
    ok "$name"
  fi
}

profile() { python3 "$here/make_profile.py" "$@"; }

usage_errors() {
  refuses no_verb 'expected one of run, heap'
  refuses unknown_verb 'verb: fly' fly
  refuses unknown_help_verb 'verb: fly' help fly
  refuses run_without_program 'expected the program' run
  refuses run_without_program_after_dashes 'expected the program' run --
  refuses run_unknown_option '--fast' run --fast -- true
  refuses run_missing_value 'expected a file name' run --memprofile
  refuses run_no_address "expected an address" run --http= true
  refuses run_value_for_a_flag 'no value' run --memstats=yes true
  refuses rate_not_a_number '--rate: 12x: expected an integer >= 0' run --rate 12x -- true
  refuses rate_negative '--rate: -5: expected' run --rate=-5 -- true
  refuses rate_too_large '--rate: 9223372036854775808: expected' run --rate 9223372036854775808 -- true
  refuses stackdepth_zero '--stackdepth: 0: expected an integer from 1 to 1024' run --stackdepth 0 -- true
  refuses unwind_unknown '--unwind: magic: expected one of auto' run --unwind magic -- true
  refuses memprofile_empty 'expected a file name' run --memprofile= -- true
  refuses memprofile_no_directory 'directory that exists' run --memprofile nowhere/h.pb.gz -- true
  refuses heap_without_file 'expected a file' heap
  refuses heap_two_files 'expected one profile' heap a b
  refuses heap_bad_nodecount '--nodecount: few: expected' heap -n few a
  refuses control_characters_stay_off_the_terminal 'verb: a?b' $'a\nb'
  prints help_lists_verbs 'show where the memory' --help
  prints help_of_a_verb '--memprofile FILE' help run
  prints help_option_of_a_verb '--nodecount N' heap --help
  prints version 'halloc ' --version
  check full_disk_is_an_error bash -c "! '$halloc' --help >/dev/full 2>err && grep -q 'standard output' err"
}

build_programs() {
  echo 'int halloc_test_library;' >lib.c
  cat >env.c <<'C'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    printf("%s=%s\n", argv[i], getenv(argv[i]) ? getenv(argv[i]) : "(unset)");
  return 7;
}
C
  echo '#include <stddef.h>
static char heap[1 << 20]; static size_t used;
void *malloc(size_t n) { used += n; return heap + used - n; }
void free(void *p) { (void)p; }
int main(void) { return malloc(1) == NULL; }' >own.c
  gcc -shared -fPIC -o libhalloc.so lib.c && gcc -o env env.c && gcc -static -o static env.c &&
    gcc -fno-builtin -o own own.c && gcc -fno-builtin -fvisibility=hidden -o own_hidden own.c
}

runs() { "$halloc" run --lib "$work/libhalloc.so" "$@"; }

run_refusals() {
  local lib=(run --lib "$work/libhalloc.so")
  refuses program_not_found 'not found in PATH' "${lib[@]}" -- no-such-program
  refuses program_path_not_found 'No such file' "${lib[@]}" -- ./no-such-program
  refuses program_is_a_directory 'directory' "${lib[@]}" -- /usr
  refuses program_not_executable 'not executable' "${lib[@]}" -- ./env.c
  refuses static_program 'static' "${lib[@]}" -- ./static
  refuses own_malloc 'defines its own' "${lib[@]}" -- ./own
  refuses own_hidden_malloc 'defines its own' "${lib[@]}" -- ./own_hidden
  cp env setuid && chmod u+s setuid
  refuses setuid_program 'setuid' "${lib[@]}" -- ./setuid
  cp env setgid && chmod g+xs setgid
  refuses setgid_program 'setgid' "${lib[@]}" -- ./setgid
  cp env capable
  if setcap cap_net_raw+ep capable 2>/dev/null; then
    refuses program_with_capabilities 'capabilities' "${lib[@]}" -- ./capable
  else
    echo "skip program_with_capabilities: setcap is not permitted here"
  fi
  # Byte 4 of an ELF file is its class (1 = 32 bits), bytes 18 and 19 the machine (8 = MIPS).
  cp env elf32 && printf '\1' | dd of=elf32 bs=1 seek=4 conv=notrunc status=none
  refuses program_of_32_bits 'for another' "${lib[@]}" -- ./elf32
  cp env mips && printf '\10\0' | dd of=mips bs=1 seek=18 conv=notrunc status=none
  refuses program_of_another_machine 'for another' "${lib[@]}" -- ./mips
  head -c 80 env >cut && chmod +x cut
  refuses damaged_program 'static' "${lib[@]}" -- ./cut
  printf 'a\0b' >binary && chmod +x binary
  refuses neither_program_nor_script 'neither' "${lib[@]}" -- ./binary
  refuses library_not_found '--lib: ./no.so: expected the path' run --lib ./no.so -- ./env
  mkdir -p 'with space' && cp libhalloc.so 'with space'
  refuses library_path_with_a_space 'without spaces' run --lib 'with space/libhalloc.so' -- ./env
}

script() {
  printf '%s\n' "$2" 'exit 5' >"$1"
  chmod +x "$1"
}

run_scripts() {
  local lib=(run --lib "$work/libhalloc.so")
  script sh_script '#!/bin/sh'
  script env_script '#!/usr/bin/env bash'
  script spaced_script '#!  /bin/sh  -e'
  script plain_script ': no interpreter named'
  script static_script "#!$work/static"
  script nested_script "#!$work/static_script"
  script env_static_script "#!/usr/bin/env $work/static"
  script lost_script '#!/no/such/interpreter'
  script empty_script '#!'
  script loop_script "#!$work/loop_script"
  for name in sh_script env_script spaced_script plain_script; do
    runs -- ./$name
    check "runs_$name" [ $? -eq 5 ]
  done
  refuses script_of_a_static_interpreter 'static' "${lib[@]}" -- ./static_script
  refuses script_of_a_script 'static' "${lib[@]}" -- ./nested_script
  refuses script_that_env_gives_to_a_static_program 'static' "${lib[@]}" -- ./env_static_script
  refuses script_without_its_interpreter 'No such file' "${lib[@]}" -- ./lost_script
  refuses script_with_an_empty_first_line 'interpreter after #!' "${lib[@]}" -- ./empty_script
  refuses script_of_itself 'interpreters in a row' "${lib[@]}" -- ./loop_script
}

run_effects() {
  runs --memprofile 'h%p.pb.gz' --rate 4096 --memstats --stackdepth=64 -unwind fp -- ./env LD_PRELOAD \
    HALLOC_MEMPROFILE HALLOC_MEMPROFILERATE HALLOC_MEMSTATS HALLOC_STACKDEPTH HALLOC_UNWIND >out
  check exit_status_is_the_programs [ $? -eq 7 ]
  printf '%s\n' "LD_PRELOAD=$work/libhalloc.so" "HALLOC_MEMPROFILE=$work/h%p.pb.gz" \
    HALLOC_MEMPROFILERATE=4096 HALLOC_MEMSTATS=1 HALLOC_STACKDEPTH=64 HALLOC_UNWIND=fp >want
  check variables_are_set diff want out
  runs --http 127.0.0.1:0 ./env HALLOC_HTTP >out
  check http_is_set grep -qx HALLOC_HTTP=127.0.0.1:0 out
  runs ./env HALLOC_MEMPROFILE HALLOC_MEMSTATS >out
  printf '%s\n' 'HALLOC_MEMPROFILE=(unset)' 'HALLOC_MEMSTATS=(unset)' >want
  check dashes_are_optional_and_nothing_else_is_set diff want out
  cp libhalloc.so other.so
  LD_PRELOAD="$work/other.so" runs ./env LD_PRELOAD >out
  check existing_preload_is_kept grep -qx "LD_PRELOAD=$work/libhalloc.so:$work/other.so" out
  "$halloc" run --lib ./libhalloc.so ./env LD_PRELOAD >out
  check relative_library_becomes_absolute grep -qx "LD_PRELOAD=$work/libhalloc.so" out
  refuses locks_without_their_library 'expected libhalloc-locks.so beside' run --lib ./libhalloc.so --locks ./env
  cp libhalloc.so libhalloc-locks.so
  HALLOC_BLOCKPROFILERATE=7 runs --locks ./env LD_PRELOAD HALLOC_MUTEXPROFILEFRACTION HALLOC_BLOCKPROFILERATE >out
  printf '%s\n' "LD_PRELOAD=$work/libhalloc.so:$work/libhalloc-locks.so" HALLOC_MUTEXPROFILEFRACTION=1 \
    HALLOC_BLOCKPROFILERATE=7 >want
  check locks_are_watched diff want out
  rm libhalloc-locks.so
  { runs -- sh -c 'kill -TERM $$'; } 2>/dev/null
  check signals_are_the_programs [ $? -eq 143 ]
  mkdir -p beside && cp "$halloc" libhalloc.so beside
  beside/halloc run ./env LD_PRELOAD >out
  check library_beside_the_command grep -qx "LD_PRELOAD=$work/beside/libhalloc.so" out
}

heap_errors() {
  refuses profile_missing 'No such file' heap missing.pb.gz
  refuses profile_is_a_directory 'directory' heap /usr
  : >empty
  refuses profile_empty 'empty' heap empty
  echo 'hello, this is a text file and no profile at all' >text
  refuses profile_is_text 'expected a pprof profile' heap text
  gzip -k text
  refuses profile_is_gzipped_text 'expected a pprof profile' heap text.gz
  head -c 120 known.pb.gz >cut.pb.gz
  refuses profile_gzip_truncated 'truncated' heap cut.pb.gz
  head -c 100 known.pb >cut.pb
  refuses profile_truncated 'expected a pprof profile' heap cut.pb
  { head -c 100 known.pb.gz && printf 'XXXXXXXX' && tail -c +109 known.pb.gz; } >damaged.pb.gz
  refuses profile_gzip_damaged 'expected' heap damaged.pb.gz
  for what in no_types location zero_location values string negative_string function mapping doubled \
    first_string; do
    profile "broken_$what" "broken_$what.pb"
    refuses "profile_with_bad_$what" 'expected a pprof profile' heap "broken_$what.pb"
  done
  refuses profile_is_a_url 'not available in this version' heap http://127.0.0.1:6060/debug/pprof/heap
  refuses profile_is_a_pid 'not available in this version' heap 4242
  refuses sample_type_unknown '--sample_index: pounds: expected one of alloc_objects' heap -i pounds known.pb
  profile many_frames many.pb
  refuses too_many_frames 'fewer frames' heap many.pb
  head -c 1100000000 /dev/zero | gzip -1 >bomb.pb.gz
  refuses gzip_bomb '1 GiB' heap bomb.pb.gz
  rm -f bomb.pb.gz
}

# Cut at every length and damaged at every byte, a profile is read or refused, and never crashes the reader.
heap_hostile() {
  local size bad=0 i
  size=$(wc -c <known.pb)
  for ((i = 0; i < size; i += 7)); do
    head -c "$i" known.pb >mutant
    "$halloc" heap mutant >/dev/null 2>&1
    [ $? -le 2 ] || bad=1
    { head -c "$i" known.pb && printf '\377' && tail -c +$((i + 2)) known.pb; } >mutant
    "$halloc" heap mutant >/dev/null 2>&1
    [ $? -le 2 ] || bad=1
  done
  check damaged_profiles_do_not_crash [ $bad -eq 0 ]
  for kind in repeats nested counted; do
    profile "$kind" "$kind.pb"
    timeout 20 "$halloc" heap "$kind.pb" >out 2>err
    check "drop_frames_of_$kind" [ $? -eq 0 -a "$(grep -c 'no frame is dropped' err)" -eq 1 ]
  done
  profile extreme extreme.pb
  prints extreme_values 'leaf' heap extreme.pb
  profile hostile_names names.pb
  prints names_are_printable 'quote" b' heap names.pb
  check no_escape_reaches_the_terminal bash -c "! grep -q $'\\033' out"
  check json_of_hostile_names bash -c "'$halloc' heap --json names.pb | python3 -m json.tool >/dev/null"
}

# The rows of a table, with single spaces, from pprof or from us.
rows() { sed -e '1,/flat%/d' -e '/^$/,$d' -e 's/ (inline)$//' -e 's/ (partial-inline)$//' "$1" | tr -s ' '; }

# same_as_pprof NAME PROFILE OPTION...: our table and pprof's have the same rows, and the same total line.
same_as_pprof() {
  local name=$1 file=$2 go=/usr/bin/go
  shift 2
  if [ ! -x $go ]; then
    echo "skip $name: go tool pprof is not installed"
    return
  fi
  PPROF_TMPDIR=$work PPROF_BINARY_PATH=$work GOCACHE=$work $go tool pprof -top -nodefraction=0 \
    -nodecount=1000 "$@" "$file" >theirs 2>pprof.log
  "$halloc" heap --nodecount 0 "$@" "$file" >ours || fail "$name" 'exit status'
  # Behind the five columns of pprof we have two of our own.
  rows ours | sed -E 's/^( ?([^ ]+ ){5})[^ ]+ [^ ]+ /\1/' >ours.rows && rows theirs >theirs.rows
  grep -E '^(Type|Time|File|Showing nodes)' ours >>ours.rows
  grep -E '^(Type|Time|File|Showing nodes)' theirs >>theirs.rows
  if [ -s theirs.rows ] && diff theirs.rows ours.rows; then ok "$name"; else fail "$name"; fi
}

heap_numbers() {
  for type in inuse_space inuse_objects alloc_space alloc_objects; do
    same_as_pprof "pprof_agrees_on_$type" known.pb.gz -sample_index=$type
    same_as_pprof "pprof_agrees_on_cum_$type" known.pb -cum -$type
  done
  same_as_pprof pprof_agrees_on_the_default known.pb.gz
  profile default_type default.pb
  same_as_pprof pprof_agrees_on_a_named_default default.pb
  profile sparse_ids sparse.pb
  same_as_pprof pprof_agrees_on_sparse_ids sparse.pb
  profile inlined inlined.pb
  same_as_pprof pprof_agrees_on_inlined_and_dropped_frames inlined.pb
  prints leaf_row ' 23044096B 66.61% 66.61%  23044096B 66.61% ' heap known.pb.gz
  check dropped_frames_are_gone bash -c '! grep -qE "malloc|calloc|operator new" out'
  prints recursion_counts_once ' 6553600B 18.94%  ' heap known.pb.gz
  prints names_lose_their_arguments ' space::fill' heap known.pb.gz
  prints stacks_have_full_names 'space::Thing::add(int, bool)' heap --stacks known.pb.gz
  profile addresses addresses.pb
  prints nameless_frame 'program+0x1020' heap addresses.pb
  prints frame_outside_every_mapping '0x7fff0000' heap addresses.pb
  prints nodecount 'Showing top 2 nodes out of' heap -n 2 known.pb
}

heap_accuracy() {
  local total error samples low high leaf recurse
  read -r total error samples low high leaf recurse <expected
  prints standard_error "\"standard_error\":$error,\"interval95\":[$low,$high],\"samples\":$samples," heap --json \
    known.pb.gz
  prints error_of_flat "\"leaf\",\"flat\":23044096,\"cum\":23044096,\"flat_standard_error\":$leaf," heap --json known.pb.gz
  prints error_of_cum "\"cum_standard_error\":$error}" heap --json known.pb.gz
  prints error_columns "${recurse}B   ${recurse}B  recurse" heap known.pb.gz
  prints error_of_a_stack "\"value\":6553600,\"standard_error\":$recurse," heap --json --stacks known.pb.gz
  prints stack_line '66.61% ±' heap --stacks known.pb.gz
  prints total "\"total\":$total," heap --json known.pb.gz
  for kind in exact dropped rate1; do profile $kind $kind.pb.gz; done
  prints exact_total 'exact HeapAlloc' heap exact.pb.gz
  # The exact total is one MiB more than the sampled one; tenths, rounded.
  local tenths=$(((1048576 * 10 + error / 2) / error))
  prints difference_in_standard_errors "difference 0.$tenths standard errors" heap exact.pb.gz
  prints exact_objects 'exact HeapObjects 2158, difference 0.0' heap -inuse_objects exact.pb.gz
  prints no_error_at_rate_1 '± 0 (1 standard error, 2158 samples)' heap rate1.pb.gz
  "$halloc" heap dropped.pb.gz >out
  check dropped_samples_come_first grep -q '12 samples were dropped' <(head -1 out)
  prints comments 'halloc: dropped=12' heap --comments dropped.pb.gz
  for kind in summed of_others; do profile $kind $kind.pb.gz; done
  prints errors_that_the_library_summed '"standard_error":7000000,' heap --json summed.pb.gz
  prints samples_that_the_library_counted '"samples":321,' heap --json summed.pb.gz
  prints errors_of_other_rows_are_not_taken "\"standard_error\":$error," heap --json of_others.pb.gz
  for option in --json '--json --stacks'; do
    # shellcheck disable=SC2086
    check "valid ${option// /}" bash -c "'$halloc' heap $option exact.pb.gz | python3 -m json.tool >/dev/null"
  done
}

heap_rss() {
  profile rss rss.pb.gz
  refuses rss_of_a_heap_profile '--rss: known.pb.gz: expected an rss profile' heap --rss known.pb.gz
  prints rss_rows '1.81MB 38.78%   100%     1.81MB 38.78%  [idle]' heap --rss rss.pb.gz
  prints rss_total 'resident total 4.67MB, VmRSS 4.77MB; blocks in use 3.86MB, of which 1MB are not resident' heap \
    --rss rss.pb.gz
  prints rss_is_shown_without_the_option '[idle]' heap rss.pb.gz
  prints rss_json '"total":4900000,"period":524288,"time_nanos":1700000000000000000,"VmRSS":5000000,"not_resident":1048576,' \
    heap --json rss.pb.gz
}

profile known known.pb >expected
profile known known.pb.gz >expected
usage_errors
if build_programs; then
  run_refusals
  run_scripts
  run_effects
else
  fail building_the_test_programs
fi
heap_errors
heap_hostile
heap_numbers
heap_accuracy
heap_rss
exit $failed
