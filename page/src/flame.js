// SPDX-License-Identifier: MIT
//
// Draws a tree of frames as a flame graph, root on top, on a canvas, and answers pointer and keys.
//
// Only what is at least two pixels wide is laid out, so a picture costs what can be seen in it, however many
// stacks there are. The frame zoomed to takes the whole width, the next of its callers stand above it. One
// frame is selected; keys move the selection (arrows), zoom (Enter) and go back (Escape).
//
// Colours come from the style sheet. Nothing is told by colour alone: matches of the search have a thick
// edge, growth and shrinkage a sign, and shrinkage stripes.

import { names } from "./profile.js";

const ROW = 20; // pixels of height
const LEAST_WIDTH = 2;
const LEAST_EDGE = 5;
const MOST_ROWS = 200; // browsers bound the size of a canvas, on phones to 16 million pixels
const CALLERS = 20; // shown above the zoomed frame
const LEAST_TEXT = 26;
const SHADES = 6;

export class Flame {
  /** label(node): the text in a frame. onSelect(node): of the frame under the pointer or the keys. */
  constructor(canvas, { label, onSelect, onZoom }) {
    this.canvas = canvas;
    this.label = label;
    this.onSelect = onSelect;
    this.onZoom = onZoom;
    this.root = null;
    this.zoomed = null;
    this.selected = null;
    this.isDifference = false;
    this.matches = null;
    this.boxes = [];
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("click", (event) => this.click(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Shows another tree; a frame of the same stack as before stays zoomed. */
  show(root, isDifference) {
    const path = pathOf(this.zoomed);
    this.root = root;
    this.isDifference = isDifference;
    this.zoomed = follow(root, path);
    this.select(this.zoomed);
    this.onZoom(this.zoomed);
  }

  /** matches: by frame number, or null. */
  search(matches) {
    this.matches = matches;
    this.draw();
  }

  zoom(node) {
    this.zoomed = node;
    this.select(node);
    this.onZoom(node);
  }

  select(node) {
    this.selected = node;
    this.onSelect(node);
    this.draw();
  }

  nodeAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const row = Math.floor((event.clientY - box.top) / ROW);
    const found = this.boxes.find((item) => item.row === row && x >= item.x && x < item.x + item.width);
    return found?.node ?? null;
  }

  point(event) {
    const node = this.nodeAt(event);
    if (node !== null && node !== this.selected) this.select(node);
  }

  click(event) {
    const node = this.nodeAt(event);
    if (node !== null) this.zoom(node);
  }

  key(event) {
    const next = this.target(event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (event.key === "Enter" || event.key === "Escape") this.zoom(next);
    else if (next !== null) this.select(next);
  }

  /** Where a key leads; undefined: it is not ours. */
  target(key) {
    const node = this.selected ?? this.root;
    if (node === null) return undefined;
    const siblings = node.parent?.children ?? [node];
    const place = siblings.indexOf(node);
    switch (key) {
      case "ArrowDown":
        return this.zoomed.depth > node.depth
          ? pathTo(this.zoomed, node.depth + 1)
          : (node.children[0] ?? null);
      case "ArrowUp":
        return node.parent;
      case "ArrowLeft":
        return node.depth > this.zoomed.depth ? (siblings[place - 1] ?? null) : null;
      case "ArrowRight":
        return node.depth > this.zoomed.depth ? (siblings[place + 1] ?? null) : null;
      case "Enter":
        return node;
      case "Escape":
        return this.root;
      default:
        return undefined;
    }
  }

  draw() {
    if (this.root === null) return;
    const width = this.canvas.parentElement.clientWidth;
    if (width === 0) return;
    this.boxes = layout(this.zoomed, width);
    const rows = this.boxes.reduce((most, box) => Math.max(most, box.row + 1), 1);
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(rows * ROW * scale);
    this.canvas.style.height = `${rows * ROW}px`;
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const palette = readPalette(this.canvas);
    for (const box of this.boxes) this.drawBox(context, palette, box);
  }

  drawBox(context, palette, { node, row, x, width }) {
    const y = row * ROW;
    const isMatch = this.matches !== null && node.frame >= 0 && this.matches[node.frame] === true;
    context.fillStyle = this.colour(palette, node, isMatch);
    context.fillRect(x, y, Math.max(width - 1, LEAST_WIDTH), ROW - 1);
    if (this.isDifference && node.net < 0) stripe(context, palette.stripe, x, y, width - 1);
    if ((isMatch && width >= LEAST_EDGE) || node === this.selected) {
      context.strokeStyle = node === this.selected ? palette.selected : palette.edge;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, Math.max(width - 3, 1), ROW - 3);
    }
    if (width >= LEAST_TEXT) {
      context.fillStyle = palette.text;
      context.fillText(fit(context, this.label(node), width - 9), x + 4, y + ROW / 2);
    }
  }

  colour(palette, node, isMatch) {
    if (this.matches !== null && !isMatch) return palette.faded;
    if (isMatch) return palette.match;
    if (node.depth < this.zoomed.depth) return palette.faded;
    if (this.isDifference)
      return node.net > 0 ? palette.growth : node.net < 0 ? palette.shrinkage : palette.faded;
    return node.frame < 0 ? palette.faded : palette.shades[shadeOf(node.frame)];
  }
}

/** Boxes of the frames to be seen: callers of the zoomed one over the whole width, then what is below it. */
function layout(zoomed, width) {
  const boxes = [];
  const first = Math.max(0, zoomed.depth - CALLERS);
  for (let node = zoomed.parent; node !== null && node.depth >= first; node = node.parent) {
    boxes.push({ node, row: node.depth - first, x: 0, width });
  }
  const place = (node, x, share) => {
    boxes.push({ node, row: node.depth - first, x, width: share });
    if (node.depth - first + 1 >= MOST_ROWS) return;
    const perValue = node.size === 0 ? 0 : share / node.size;
    let left = x;
    for (const child of node.children) {
      const size = child.size * perValue;
      if (size < LEAST_WIDTH) break; // children come by size
      place(child, left, size);
      left += size;
    }
  };
  place(zoomed, 0, width);
  return boxes;
}

/** Names of a node from below the root. */
function pathOf(node) {
  const path = [];
  for (; node !== null && node.parent !== null; node = node.parent) path.unshift(node.frame);
  return path;
}

/** The node with that path, or its deepest caller that is there. */
function follow(root, path) {
  let node = root;
  for (const frame of path) {
    const child = node.children.find((candidate) => candidate.frame === frame);
    if (child === undefined) break;
    node = child;
  }
  return node;
}

/** The caller of the node at that depth. */
function pathTo(node, depth) {
  while (node.depth > depth) node = node.parent;
  return node;
}

/** The same function always has the same shade. */
function shadeOf(frame) {
  let hash = 7;
  for (const character of names.list[frame].name) hash = (hash * 31 + character.charCodeAt(0)) % 65521;
  return hash % SHADES;
}

function readPalette(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(`--flame-${name}`).trim();
  const palette = { shades: [] };
  for (const name of ["text", "faded", "match", "edge", "selected", "growth", "shrinkage", "stripe"]) {
    palette[name] = colour(name);
  }
  for (let i = 0; i < SHADES; i++) palette.shades.push(colour(`shade-${i}`));
  return palette;
}

function stripe(context, colour, x, y, width) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, ROW - 1);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let left = x - ROW; left < x + width; left += 7) {
    context.moveTo(left, y + ROW);
    context.lineTo(left + ROW, y);
  }
  context.stroke();
  context.restore();
}

/** The text cut to a width, by halves. */
function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + "…").width <= width) low = middle;
    else high = middle - 1;
  }
  return low === 0 ? "" : text.slice(0, low) + "…";
}
