// SPDX-License-Identifier: MIT
//
// A heap profile in memory, read from the bytes of /debug/pprof/heap: profile.proto, with or without gzip.
//
//   types     [{type, unit}], the meaning of the values of a sample
//   samples   [{frames, values, labels}]: frames are numbers of names, outermost first;
//             labels are [key, value] texts
//   facts     what halloc's comments tell, texts by name: "pid", "HeapAlloc", "dropped"
//   rate, time (ms), labelKeys (sorted)
//
// Frames are numbers in one table of names for all profiles of the page, so that two profiles can be
// compared.

import { demangle } from "./demangle.js";
import { dropMatcher, prune } from "./prune.js";
import { eachField, pushIntegers, toText } from "./protobuf.js";

/** Readable names by number. file is the mapped file that the function was first seen in. */
class Names {
  constructor() {
    this.byName = new Map();
    this.list = [];
  }

  number(name, file) {
    let number = this.byName.get(name);
    if (number === undefined) {
      number = this.list.length;
      this.byName.set(name, number);
      this.list.push({ name, file });
    }
    return number;
  }
}

export const names = new Names();

export async function readProfile(bytes) {
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return build(parse(isGzip ? await gunzip(bytes) : bytes));
}

async function gunzip(bytes) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser cannot unpack gzip; use a newer one");
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Error("the profile is damaged or cut off: gzip cannot be unpacked");
  }
}

/** The message as it stands, texts still as numbers. */
function parse(bytes) {
  const raw = {
    types: [],
    samples: [],
    mappings: new Map(),
    locations: new Map(),
    functions: new Map(),
    texts: [],
    comments: [],
    drop: 0,
    keep: 0,
    time: 0,
    period: 0,
  };
  eachField(bytes, (field, value) => {
    if (field === 1) raw.types.push(integers(value, { 1: "type", 2: "unit" }));
    else if (field === 2) raw.samples.push(parseSample(value));
    else if (field === 3)
      addById(raw.mappings, integers(value, { 1: "id", 2: "start", 4: "offset", 5: "file" }));
    else if (field === 4) addById(raw.locations, parseLocation(value));
    else if (field === 5) addById(raw.functions, integers(value, { 1: "id", 2: "name" }));
    else if (field === 6) raw.texts.push(toText(value));
    else if (field === 7) raw.drop = value;
    else if (field === 8) raw.keep = value;
    else if (field === 9) raw.time = value / 1e6;
    else if (field === 12) raw.period = value;
    else if (field === 13) pushIntegers(raw.comments, value);
  });
  if (raw.types.length === 0) throw new Error("the answer is not a profile");
  return raw;
}

/** A message of integers only, by the names of its fields. */
function integers(bytes, fields) {
  const result = {};
  for (const name of Object.values(fields)) result[name] = 0;
  eachField(bytes, (field, value) => {
    if (fields[field] !== undefined) result[fields[field]] = value;
  });
  return result;
}

function addById(map, item) {
  map.set(item.id, item);
}

function parseSample(bytes) {
  const sample = { locations: [], values: [], labels: [] };
  eachField(bytes, (field, value) => {
    if (field === 1) pushIntegers(sample.locations, value);
    else if (field === 2) pushIntegers(sample.values, value);
    else if (field === 3) sample.labels.push(integers(value, { 1: "key", 2: "text" }));
  });
  return sample;
}

function parseLocation(bytes) {
  const location = { id: 0, mapping: 0, address: 0, functions: [] };
  eachField(bytes, (field, value) => {
    if (field === 1) location.id = value;
    else if (field === 2) location.mapping = value;
    else if (field === 3) location.address = value;
    else if (field === 4) location.functions.push(integers(value, { 1: "function" }).function);
  });
  return location;
}

function build(raw) {
  const text = (number) => raw.texts[number] ?? "";
  const framesOf = framesByLocation(raw, text);
  const matches = dropMatcher(text(raw.drop), text(raw.keep));
  const isDropped = [];
  for (const frames of framesOf.values()) {
    for (const frame of frames) isDropped[frame] ??= matches(names.list[frame].name);
  }
  const samples = raw.samples.map((sample) => ({
    frames: prune(stackOf(sample, framesOf), isDropped),
    values: sample.values,
    labels: sample.labels
      .filter((label) => label.text !== 0)
      .map((label) => [text(label.key), text(label.text)]),
  }));
  const types = raw.types.map((type) => ({ type: text(type.type), unit: text(type.unit) }));
  const keys = new Set(samples.flatMap((sample) => sample.labels.map(([key]) => key)));
  return {
    types,
    samples,
    facts: factsOf(raw.comments.map(text)),
    rate: raw.period,
    time: raw.time,
    labelKeys: [...keys].sort(),
  };
}

/** Of lines such as "halloc: version=0.1.0 pid=7 rate=524288". */
function factsOf(comments) {
  const lines = comments.filter((line) => line.startsWith("halloc: "));
  return new Map(
    lines.flatMap((line) => [...line.matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name, value])),
  );
}

/** Frame numbers of each location: several where functions were inlined, the outermost first. */
function framesByLocation(raw, text) {
  const result = new Map();
  for (const location of raw.locations.values()) {
    const mapping = raw.mappings.get(location.mapping);
    const file = mapping === undefined ? "" : text(mapping.file).replace(/.*\//, "");
    const frames = [];
    for (let i = location.functions.length - 1; i >= 0; i--) {
      const name = text(raw.functions.get(location.functions[i])?.name ?? 0);
      if (name !== "") frames.push(names.number(demangle(name), file));
    }
    if (frames.length === 0) frames.push(names.number(nameOfAddress(location, mapping, file), file));
    result.set(location.id, frames);
  }
  return result;
}

/** As `halloc heap` names what no symbol table knows. */
function nameOfAddress(location, mapping, file) {
  if (mapping === undefined || file === "") return `0x${location.address.toString(16)}`;
  return `${file}+0x${(location.address - mapping.start + mapping.offset).toString(16)}`;
}

function stackOf(sample, framesOf) {
  const stack = [];
  for (let i = sample.locations.length - 1; i >= 0; i--) {
    const frames = framesOf.get(sample.locations[i]);
    if (frames !== undefined) stack.push(...frames);
  }
  return stack;
}
