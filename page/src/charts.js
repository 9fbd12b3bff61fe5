// SPDX-License-Identifier: MIT
//
// The four charts of the page: live heap, allocation rate, memory, threads. Lines differ in their dashes as
// well as in colour. The legend has the numbers of the time under the pointer, or the newest; uPlot draws.

import uPlot from "uplot";
import { bytes, clock, count } from "./format.js";

const HEIGHT = 170;
const AXIS_WIDTH = 64;
const AXIS_HEIGHT = 28;
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800]; // between times on the axis
const LIMIT_IN_SIGHT = 3; // the limit is drawn unless it is so many times what is used

const perSecond = (value) => `${bytes(value)}/s`;

const CHARTS = [
  { title: "Live heap", format: bytes, binary: true, lines: [{ key: "heap", label: "HeapAlloc" }] },
  {
    title: "Allocation rate",
    format: perSecond,
    binary: true,
    lines: [{ key: "rate", label: "TotalAlloc per second" }],
  },
  {
    title: "Memory",
    format: bytes,
    binary: true,
    lines: [
      { key: "rss", label: "RSS" },
      { key: "inuse", label: "HeapInuse", dash: [8, 4] },
      { key: "idle", label: "HeapIdle", dash: [2, 3] },
      { key: "released", label: "HeapReleased", dash: [10, 3, 2, 3] },
      { key: "limit", label: "MemoryLimit", isLimit: true },
    ],
  },
  { title: "Threads", format: count, lines: [{ key: "threads", label: "Threads", isStepped: true }] },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  constructor(parent, definition) {
    this.definition = definition;
    this.history = null;
    this.section = parent.appendChild(document.createElement("section"));
    this.section.className = "chart";
    const heading = this.section.appendChild(document.createElement("h3"));
    heading.textContent = definition.title;
    this.legend = this.section.appendChild(document.createElement("ul"));
    this.legend.className = "legend";
    this.values = definition.lines.map((line, i) => this.addLegendLine(line, i));
    this.area = this.section.appendChild(document.createElement("div"));
    this.area.setAttribute("role", "img");
    this.plot = new uPlot(this.options(), [[], ...definition.lines.map(() => [])], this.area);
    new ResizeObserver(() => this.resize()).observe(this.area);
  }

  addLegendLine(line, i) {
    const item = this.legend.appendChild(document.createElement("li"));
    item.append(lineSample(line, i), `${line.label} `);
    const value = item.appendChild(document.createElement("strong"));
    value.dataset.series = line.key;
    return value;
  }

  options() {
    const { lines, format, binary } = this.definition;
    const axis = {
      stroke: () => colour("--text"),
      grid: { stroke: () => colour("--grid"), width: 1 },
      ticks: { show: false },
    };
    return {
      width: 320,
      height: HEIGHT,
      padding: [8, 30, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "halloc" }, points: { size: 6 } },
      scales: { y: { range: () => [0, this.top()] } },
      axes: [
        {
          ...axis,
          size: AXIS_HEIGHT,
          space: 70,
          incrs: SECONDS,
          values: (_, splits) => splits.map((time) => clock(time * 1000)),
        },
        {
          ...axis,
          size: AXIS_WIDTH,
          space: 36,
          incrs: binary
            ? Array.from({ length: 50 }, (_, i) => 2 ** i)
            : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
          values: (_, splits) => splits.map(format),
        },
      ],
      series: [
        {},
        ...lines.map((line, i) => ({
          label: line.label,
          stroke: () => colour(line.isLimit ? "--limit" : `--line-${i}`),
          width: line.isLimit ? 3 : 2,
          dash: line.isLimit ? [14, 5] : line.dash,
          paths: line.isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [() => this.tell()] },
    };
  }

  /** The upper end of the axis: everything but a limit that is far above now. */
  top() {
    if (this.history === null) return 1;
    let used = 0;
    let limit = 0;
    for (const line of this.definition.lines) {
      const values = this.history[line.key];
      if (line.isLimit) limit = values.findLast((value) => value !== null) ?? 0;
      else used = values.reduce((high, value) => Math.max(high, value ?? 0), used);
    }
    const isSeen = limit <= LIMIT_IN_SIGHT * used;
    return Math.max(1, 1.1 * (isSeen ? Math.max(used, limit) : used));
  }

  show(history) {
    this.history = history;
    this.plot.setData([history.time, ...this.definition.lines.map((line) => history[line.key])]);
    this.tell();
  }

  /** The numbers in the legend, and the same in words for those who do not see the picture. */
  tell() {
    if (this.history === null) return;
    const last = this.history.time.length - 1;
    const at = this.plot.cursor.idx ?? last;
    const isGap = this.history[this.definition.lines[0].key][at] === null;
    const parts = this.definition.lines.map((line, i) => {
      const value = this.history[line.key][at] ?? null;
      const absent = line.isLimit && !isGap ? "none" : "–";
      const isAbove = line.isLimit && value > this.top();
      const text = value === null ? absent : this.definition.format(value) + (isAbove ? " (above)" : "");
      if (this.values[i].textContent !== text) this.values[i].textContent = text;
      return `${line.label} ${text}`;
    });
    this.area.setAttribute("aria-label", `${this.definition.title}: ${parts.join(", ")}`);
  }

  resize() {
    const width = this.area.clientWidth;
    if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }
}

/** A short piece of the line as it is drawn. */
function lineSample(line, i) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 30 8");
  svg.setAttribute("aria-hidden", "true");
  const path = svg.appendChild(document.createElementNS(namespace, "path"));
  path.setAttribute("d", "M0 4H30");
  path.setAttribute("class", line.isLimit ? "limit" : `line-${i}`);
  const dash = line.isLimit ? [14, 5] : line.dash;
  if (dash !== undefined) path.setAttribute("stroke-dasharray", dash.join(" "));
  return svg;
}

export class Charts {
  constructor(parent) {
    this.charts = CHARTS.map((definition) => new Chart(parent, definition));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of this.charts) chart.plot.redraw(false);
    });
  }

  /** The last so many seconds of the history. */
  show(history, seconds) {
    const since = (history.time.at(-1) ?? 0) - seconds;
    let first = history.time.findIndex((time) => time >= since);
    if (first < 0) first = 0;
    const part = {};
    for (const [name, column] of Object.entries(history)) part[name] = column.slice(first);
    for (const chart of this.charts) chart.show(part);
  }
}
