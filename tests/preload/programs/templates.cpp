// SPDX-License-Identifier: MIT
// Many instantiations: what matters is the memory that compiling this takes, it is never run.
#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

template <int N>
struct tag {
  std::array<int, N + 1> values;
};

template <int... N>
auto make_all(std::integer_sequence<int, N...>) {
  return std::make_tuple(std::map<std::string, std::vector<tag<N>>>{}...);
}

template <int... N>
int visit_all(std::integer_sequence<int, N...>) {
  using any = std::variant<tag<N>...>;
  int sum = 0;
  for (any value : {any{tag<N>{}}...}) {
    sum += std::visit([](auto &t) { return (int)t.values.size(); }, value);
  }
  return sum;
}

int use() {
  auto all = make_all(std::make_integer_sequence<int, 24>{});
  std::get<3>(all)["x"].emplace_back();
  std::regex pattern("(a|b)*c");
  std::vector<std::string> words{"b", "a"};
  std::sort(words.begin(), words.end());
  return visit_all(std::make_integer_sequence<int, 40>{}) + (int)std::regex_match(words[0], pattern);
}
