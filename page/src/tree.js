// SPDX-License-Identifier: MIT
//
// Stacks joined into a tree of frames, for one value of the samples. A node:
//
//   frame     number of its name; -1 for the root
//   self      value of stacks that end here
//   net       self of the node and of all below
//   size      width: as net, but changes in either direction count as positive
//   children  largest first
//
// Of a single profile, size is net. A difference subtracts the earlier profile: self and net are what was
// added (below 0: what went away), and size is how much changed, so that growth and shrinkage side by side do
// not hide each other.

class Node {
  constructor(frame, parent) {
    this.frame = frame;
    this.parent = parent;
    this.depth = parent === null ? 0 : parent.depth + 1;
    this.self = 0;
    this.net = 0;
    this.size = 0;
    this.children = [];
  }
}

/** Of samples that pass the filter. earlier: a profile to subtract, or null. */
export function buildTree(profile, earlier, type, passes) {
  const items = itemsOf(profile, type, 1, passes);
  if (earlier !== null) items.push(...itemsOf(earlier, type, -1, passes));
  const root = new Node(-1, null);
  join(root, items);
  sum(root);
  return root;
}

function itemsOf(profile, type, sign, passes) {
  const index = profile.types.findIndex((known) => known.type === type);
  if (index < 0) return [];
  return profile.samples
    .filter((sample) => sample.values[index] !== 0 && passes(sample))
    .map((sample) => ({ frames: sample.frames, value: sign * sample.values[index] }));
}

/** Side by side in order, stacks need only be compared with the one before to find what they share. */
function join(root, items) {
  items.sort((a, b) => compare(a.frames, b.frames));
  const path = [root]; // nodes of the stack before, by depth
  let before = [];
  for (const { frames, value } of items) {
    let depth = 0;
    while (depth < frames.length && frames[depth] === before[depth]) depth++;
    path.length = depth + 1;
    for (; depth < frames.length; depth++) {
      const node = new Node(frames[depth], path[depth]);
      path[depth].children.push(node);
      path.push(node);
    }
    path[frames.length].self += value;
    before = frames;
  }
}

function compare(a, b) {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** From the leaves up. As deep as the stacks, which is bounded. */
function sum(node) {
  for (const child of node.children) sum(child);
  node.net = node.self;
  node.size = Math.abs(node.self);
  for (const child of node.children) {
    node.net += child.net;
    node.size += child.size;
  }
  if (node.children.some((child) => child.size === 0))
    node.children = node.children.filter((child) => child.size !== 0);
  node.children.sort((a, b) => b.size - a.size || a.frame - b.frame);
}

/** Per function: self, and total as pprof's cum: what it and all it called have, recursion counted once. */
export function functionsOf(root) {
  const functions = new Map();
  const open = new Map();
  const visit = (node) => {
    let entry = functions.get(node.frame);
    if (entry === undefined) functions.set(node.frame, (entry = { frame: node.frame, self: 0, total: 0 }));
    const nested = open.get(node.frame) ?? 0;
    entry.self += node.self;
    if (nested === 0) entry.total += node.net;
    open.set(node.frame, nested + 1);
    for (const child of node.children) visit(child);
    open.set(node.frame, nested);
  };
  for (const child of root.children) visit(child);
  return [...functions.values()];
}

/** What lies in frames that match, in the tree: each stack counts once. */
export function matchedSize(root, matches) {
  let size = 0;
  let frames = 0;
  const visit = (node, isInside) => {
    const isMatch = node.frame >= 0 && matches[node.frame];
    if (isMatch) frames++;
    if (isMatch && !isInside) size += node.size;
    for (const child of node.children) visit(child, isInside || isMatch);
  };
  visit(root, false);
  return { size, frames };
}
