// SPDX-License-Identifier: MIT
//
// Writes profile.proto for tests, from rows of names: an encoder that shares nothing with the page's reader.

import { gzipSync } from "node:zlib";

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const more = rest > 127n;
    bytes.push(Number(rest & 127n) | (more ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return bytes;
}

const integer = (field, value) => [...varint(field * 8), ...varint(value)];
const bytes = (field, content) =>
  Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(content.length)]), Buffer.from(content)]);
const packed = (field, values) =>
  bytes(
    field,
    values.flatMap((value) => varint(value)),
  );

const TYPES = [
  ["alloc_objects", "count"],
  ["alloc_space", "bytes"],
  ["inuse_objects", "count"],
  ["inuse_space", "bytes"],
];

/**
 * rows: [{stack: [outermost, ..., leaf], values: [4 numbers], labels: {key: value}}]. A name "" makes a frame
 * without one.
 */
export function writeProfile(rows, { rate = 524288, drop = "", comments = [], time = Date.now() } = {}) {
  const texts = new Map([["", 0]]);
  const text = (value) => {
    if (!texts.has(value)) texts.set(value, texts.size);
    return texts.get(value);
  };
  const locations = new Map();
  const parts = TYPES.map(([type, unit]) => bytes(1, [...integer(1, text(type)), ...integer(2, text(unit))]));
  for (const { stack, values, labels = {} } of rows) {
    for (const name of stack) if (!locations.has(name)) locations.set(name, locations.size + 1);
    const pairs = Object.entries(labels).map(([key, value]) =>
      bytes(3, [...integer(1, text(key)), ...integer(2, text(value))]),
    );
    const sample = [
      packed(1, stack.map((name) => locations.get(name)).reverse()),
      packed(2, values),
      ...pairs,
    ];
    parts.push(bytes(2, Buffer.concat(sample)));
  }
  const program = [
    ...integer(1, 1),
    ...integer(2, 0x400000),
    ...integer(3, 0x500000),
    ...integer(4, 0x1000),
    ...integer(5, text("/opt/program")),
  ];
  parts.push(bytes(3, program));
  for (const [name, id] of locations) {
    const line = name === "" ? [] : [...bytes(4, integer(1, id))];
    parts.push(bytes(4, [...integer(1, id), ...integer(2, 1), ...integer(3, 0x400000 + id), ...line]));
    if (name !== "") parts.push(bytes(5, [...integer(1, id), ...integer(2, text(name))]));
  }
  parts.push(
    Buffer.from([...integer(7, text(drop)), ...integer(9, BigInt(time) * 1000000n), ...integer(12, rate)]),
  );
  for (const comment of comments) parts.push(Buffer.from(integer(13, text(comment))));
  for (const value of texts.keys()) parts.push(bytes(6, Buffer.from(value)));
  return gzipSync(Buffer.concat(parts));
}
