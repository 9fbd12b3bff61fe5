# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # sourced by scripts/bench, which sets the variables
# The rows that are one run of a real program.

readonly python_records=80000 quick_python_records=40000
readonly gcc_functions=200 quick_gcc_functions=100
readonly gxx_classes=12 quick_gxx_classes=6
readonly sqlite_rows=100000 quick_sqlite_rows=30000
readonly lua_records=400000 quick_lua_records=60000
readonly perl_records=200000 quick_perl_records=40000
readonly rocksdb_keys=200000 quick_rocksdb_keys=60000

# The interpreter itself: what is first in PATH may be a shell script that chooses one.
run_python() {
  local records
  records=$(choose "$quick_python_records" "$python_records")
  settings+=(PYTHONMALLOC=malloc)
  run_once "$@" "Python/records=$records" "$python" "$root/bench/objects.py" "$records"
}

run_gcc() {
  local functions
  functions=$(choose "$quick_gcc_functions" "$gcc_functions")
  [[ -e $scratch/source.c ]] || print_source "$functions" >"$scratch/source.c"
  run_once "$@" "Gcc/functions=$functions" gcc -O1 -c "$scratch/source.c" -o "$scratch/source.o"
}

# A C file of N functions that resemble each other and call each other.
print_source() {
  local i
  printf '%s\n' 'struct item { int key; long sum; struct item *next; };' \
    'long f0(struct item *a, int n) { return n; }'
  for ((i = 1; i <= $1; i++)); do
    cat <<END
long f$i(struct item *a, int n) {
  long total = $i;
  for (int k = 0; k < n; k++) {
    switch ((a->key + k) % 4) {
      case 0: total += a->sum * $i; break;
      case 1: total ^= f$((i - 1))(a, n / 2); break;
      case 2: a->sum = total >> (k & 7); break;
      default: if (a->next) a = a->next; else return total - k;
    }
  }
  return total + a->key;
}
END
  done
}

run_gxx() {
  local classes
  classes=$(choose "$quick_gxx_classes" "$gxx_classes")
  [[ -e $scratch/source.cc ]] || print_cpp_source "$classes" >"$scratch/source.cc"
  run_once "$@" "Gxx/classes=$classes" g++ -std=c++17 -O2 -c "$scratch/source.cc" -o "$scratch/source.o"
}

# A C++ file that instantiates containers and algorithms for each of N classes.
print_cpp_source() {
  local i
  printf '#include <%s>\n' algorithm functional map memory numeric string tuple unordered_map variant vector
  cat <<'END'
template <typename Item> struct store {
  std::map<std::string, std::vector<Item>> by_name;
  std::unordered_map<int, std::shared_ptr<Item>> by_key;
  std::variant<int, std::string, Item> last;
  int add(std::vector<Item> items) {
    std::sort(items.begin(), items.end(), [](const Item &a, const Item &b) { return a.order() < b.order(); });
    for (auto &item : items) {
      by_key[item.key] = std::make_shared<Item>(item);
      by_name[item.name].push_back(item);
      last = item;
    }
    std::function<int(int, const Item &)> add = [](int sum, const Item &item) { return sum + item.key; };
    return std::accumulate(items.begin(), items.end(), 0, add);
  }
};
END
  for ((i = 1; i <= $1; i++)); do
    cat <<END
struct item$i {
  int key; std::string name; double weight[$i];
  auto order() const { return std::make_tuple(name, key, weight[0]); }
};
int use$i(std::vector<item$i> items) { return store<item$i>().add(std::move(items)); }
END
  done
}

run_sqlite() {
  local rows
  rows=$(choose "$quick_sqlite_rows" "$sqlite_rows")
  run_once "$@" "Sqlite/rows=$rows" sqlite3 -batch -init /dev/null \
    -cmd "CREATE TABLE amount AS SELECT $rows AS row_count" -cmd ".read $root/bench/rows.sql" :memory: ''
}

run_lua() {
  local records
  records=$(choose "$quick_lua_records" "$lua_records")
  run_once "$@" "Lua/records=$records" lua5.4 "$root/bench/tables.lua" "$records"
}

run_perl() {
  local records
  records=$(choose "$quick_perl_records" "$perl_records")
  run_once "$@" "Perl/records=$records" /usr/bin/perl "$root/bench/hashes.pl" "$records"
}

run_rocksdb() {
  local keys
  keys=$(choose "$quick_rocksdb_keys" "$rocksdb_keys")
  rm -rf "$scratch/rocksdb"
  run_once "$@" "Rocksdb/keys=$keys" db_bench --benchmarks=fillrandom,readrandom,overwrite,seekrandom \
    --num="$keys" --seed=20011 --threads=1 --disable_wal=1 --compression_type=none --db="$scratch/rocksdb"
  rm -rf "$scratch/rocksdb"
}
