// SPDX-License-Identifier: MIT
//
// The parts of the live page that need no browser: reading profiles, names, trees, texts.
//
// What could break a user here: a number that is off, a function under another's name, a damaged profile that
// hangs the page.
//
// usage: node modules.mjs PAGE_SOURCES [TEST...]

import { gunzipSync } from "node:zlib";
import { join, resolve } from "node:path";
import { writeProfile } from "./profile_writer.mjs";
import { check, equal, run, test } from "./runner.mjs";

const [sources, ...chosen] = process.argv.slice(2);
const load = (name) => import(join(resolve(sources), name));
const { demangle } = await load("demangle.js");
const { amount, bytes, count, percent } = await load("format.js");
const { names, readProfile } = await load("profile.js");
const { dropMatcher, prune } = await load("prune.js");
const { buildTree, functionsOf, matchedSize } = await load("tree.js");

// Expected texts are c++filt's without what stands in brackets.
const NAMES = {
  malloc_hook: "malloc_hook",
  _Z5plainv: "plain",
  _ZNSt6vectorIiSaIiEE9push_backERKi: "std::vector::push_back",
  _ZN3app5CacheISsE6insertERKSsS3_: "app::Cache::insert",
  _ZN3app5CacheC2Ei: "app::Cache::Cache",
  _ZN3app5CacheD0Ev: "app::Cache::~Cache",
  _ZN15node_napi_env__C2Ev: "node_napi_env__::node_napi_env__",
  _Znwm: "operator new",
  _ZnamRKSt9nothrow_t: "operator new[]",
  _ZNK3fooclEv: "foo::operator()",
  _ZNK3foocvbEv: "foo::operator bool",
  _ZNK1a1bcvNS0_1cEEv: "a::b::operator a::b::c",
  _ZN3foolsERKS_: "foo::operator<<",
  _ZN12_GLOBAL__N_15innerEv: "(anonymous namespace)::inner",
  _ZZ4mainENKUlvE_clEv: "main::{lambda#1}::operator()",
  _ZZN1a1bEiENKUlT_E0_clIiEEDaS0_: "a::b::{lambda#2}::operator()",
  _ZN1aIXaaLb1EntLb0EEE1fEv: "a::f",
  _ZN1aILi3ELb1EE1fEv: "a::f",
  _ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE9_M_createERmm:
    "std::__cxx11::basic_string::_M_create",
  _ZN4coro5startB5cxx11Ev: "coro::start[abi:cxx11]",
  _ZThn16_N1a1bEv: "a::b",
  "_ZN1a1bEv.part.0": "a::b",
  "_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$17h0123456789abcdefE":
    "core::ptr::drop_in_place<alloc::string::String>",
  "_ZNK?broken": "_ZNK?broken",
  _Z: "_Z",
};

test("mangled_names_become_readable", () => {
  for (const [mangled, readable] of Object.entries(NAMES)) equal(demangle(mangled), readable, mangled);
});

test("names_cut_anywhere_are_left_alone_or_shortened", () => {
  for (const mangled of Object.keys(NAMES)) {
    for (let size = 0; size < mangled.length; size++)
      equal(typeof demangle(mangled.slice(0, size)), "string", mangled);
  }
});

test("names_that_nest_without_end_are_left_alone", () => {
  for (const hostile of [
    "_Z1fI" + "P".repeat(100000),
    "_ZN" + "1a".repeat(1000),
    "_Z" + "Z".repeat(100000),
    "_Z1fIX" + "ad".repeat(9999),
  ]) {
    equal(demangle(hostile), hostile, "a hostile name");
  }
});

const rows = [
  { stack: ["main", "a", "b"], values: [1, 100, 1, 100], labels: { k: "v" } },
  { stack: ["main", "a"], values: [2, 50, 0, 0] },
  { stack: ["main", ""], values: [3, 2 ** 45, 3, 7] },
];

test("a_profile_is_read_as_it_was_written", async () => {
  const profile = await readProfile(
    new Uint8Array(
      writeProfile(rows, {
        rate: 4096,
        comments: ["halloc: exact HeapAlloc=5 Frees=3", "pid=9"],
        time: 1700000000000,
      }),
    ),
  );
  equal(
    profile.types.map(({ type, unit }) => `${type}/${unit}`),
    ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"],
    "types",
  );
  equal(
    profile.samples.map((sample) => sample.values),
    rows.map((row) => row.values),
    "values",
  );
  equal(
    profile.samples.map((sample) => sample.frames.map((frame) => names.list[frame].name)),
    [
      ["main", "a", "b"],
      ["main", "a"],
      ["main", "program+0x1004"],
    ],
    "stacks",
  );
  equal(profile.samples[0].labels, [["k", "v"]], "labels");
  equal(
    [profile.rate, [...profile.facts], profile.time, profile.labelKeys],
    [
      4096,
      [
        ["HeapAlloc", "5"],
        ["Frees", "3"],
      ],
      1700000000000,
      ["k"],
    ],
    "header",
  );
});

test("negative_values_are_read", async () => {
  const profile = await readProfile(
    new Uint8Array(writeProfile([{ stack: ["a"], values: [-1, -4096, -3, -(2 ** 40)] }])),
  );
  equal(profile.samples[0].values, [-1, -4096, -3, -(2 ** 40)], "values");
});

test("profiles_damaged_anywhere_are_read_or_refused", async () => {
  const good = new Uint8Array(gunzipSync(writeProfile(rows)));
  for (let at = 0; at < good.length; at++) {
    const damaged = good.slice();
    damaged[at] ^= 0xff;
    for (const bytesOfProfile of [damaged, good.subarray(0, at)]) {
      await readProfile(bytesOfProfile).catch((error) =>
        check(error.message.includes("profile"), `at ${at}: ${error.stack}`),
      );
    }
  }
});

test("a_profile_that_breaks_off_is_refused", async () => {
  const good = new Uint8Array(gunzipSync(writeProfile(rows)));
  const reason = await readProfile(good.subarray(0, good.length - 1)).then(
    () => "none",
    (error) => error.message,
  );
  equal(reason, "the profile is cut off", "reason");
});

test("dropped_frames_go_with_what_they_call", () => {
  const matches = dropMatcher("malloc|operator new(\\[\\])?", "kept|malloc_kept");
  equal(["malloc", "mallocs", "operator new[]", "kept"].map(matches), [true, false, true, false], "matches");
  equal(prune([1, 9, 2], { 9: true }), [1], "a dropped frame");
  equal(prune([9, 1, 9, 2], { 9: true }), [9, 1], "not before the first other frame");
  equal(prune([9, 9], { 9: true }), [9, 9], "nothing else");
  equal(
    dropMatcher("", "")("x") || dropMatcher("(", "")("("),
    false,
    "no expression, or none that is understood",
  );
});

const all = () => true;
const treeOf = async (first, second, type) => {
  const [later, earlier] = await Promise.all(
    [first, second].map((list) => (list === null ? null : readProfile(new Uint8Array(writeProfile(list))))),
  );
  return buildTree(later, earlier, type, all);
};
const entriesOf = (root) =>
  functionsOf(root)
    .map(({ frame, self, total }) => `${names.list[frame].name} ${self} ${total}`)
    .sort();

test("recursion_counts_once", async () => {
  const root = await treeOf(
    [
      { stack: ["f", "g", "f"], values: [0, 0, 0, 10] },
      { stack: ["f"], values: [0, 0, 0, 5] },
    ],
    null,
    "inuse_space",
  );
  equal(root.net, 15, "the whole");
  equal(entriesOf(root), ["f 15 15", "g 0 10"], "functions");
  equal(
    matchedSize(
      root,
      names.list.map(({ name }) => name === "f"),
    ),
    { size: 15, frames: 2 },
    "matches",
  );
});

test("changes_both_ways_do_not_hide_each_other", async () => {
  const before = [
    { stack: ["f", "g"], values: [0, 0, 0, 10] },
    { stack: ["f", "h"], values: [0, 0, 0, 4] },
    { stack: ["k"], values: [0, 0, 0, 9] },
  ];
  const after = [
    { stack: ["f", "h"], values: [0, 0, 0, 14] },
    { stack: ["k"], values: [0, 0, 0, 9] },
  ];
  const root = await treeOf(after, before, "inuse_space");
  equal([root.net, root.size, root.children.length], [0, 20, 1], "the whole");
  equal(
    root.children[0].children.map((node) => [node.net, node.size]),
    [
      [-10, 10],
      [10, 10],
    ],
    "below f",
  );
});

test("rows_of_one_stack_are_one_node", async () => {
  const root = await treeOf(
    [
      { stack: ["f"], values: [0, 0, 0, 1], labels: { k: "a" } },
      { stack: ["f"], values: [0, 0, 0, 2], labels: { k: "b" } },
    ],
    null,
    "inuse_space",
  );
  equal(
    root.children.map((node) => node.self),
    [3],
    "nodes",
  );
});

test("numbers_are_texts_of_three_digits", () => {
  const sizes = [
    0,
    999,
    1023,
    1024,
    1536,
    10.5 * 2 ** 20,
    999 * 2 ** 20,
    1000 * 2 ** 20,
    -(2 ** 30),
    2 ** 62,
  ];
  equal(
    sizes.map(bytes),
    ["0 B", "999 B", "1 KiB", "1 KiB", "1.5 KiB", "10.5 MiB", "999 MiB", "0.98 GiB", "−1 GiB", "4096 PiB"],
    "bytes",
  );
  equal(
    [count(1234567), count(-1), amount(5, "count"), amount(2048, "bytes")],
    ["1,234,567", "−1", "5", "2 KiB"],
    "counts",
  );
  equal(
    [percent(1, 3), percent(1, 30), percent(-1, 30), percent(1, 0)],
    ["33.3 %", "3.33 %", "−3.33 %", "0 %"],
    "shares",
  );
});

await run(chosen);
