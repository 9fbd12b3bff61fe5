// SPDX-License-Identifier: MIT
//
// Reads /memstats once a second while the page is visible, and keeps the last hour. Names of fields are those
// of hp_memstats(3). A reading that failed, or a time without reading, is a gap.

import { get } from "./server.js";

const PERIOD_MS = 1000;
const KEPT = 3600;
const NO_LIMIT = 2 ** 62; // MemoryLimit without one is INT64_MAX

/**
 * Calls onReading(history) after each reading, onError(error) after each that failed. The columns of history
 * are lists of one length; those beside time are null in gaps.
 */
export class MemstatsReader {
  constructor({ onReading, onError }) {
    this.onReading = onReading;
    this.onError = onError;
    this.history = {
      time: [],
      heap: [],
      rate: [],
      rss: [],
      inuse: [],
      idle: [],
      released: [],
      limit: [],
      threads: [],
    };
    this.last = null; // the last reading, and when it was made
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.restart());
  }

  restart() {
    clearTimeout(this.timer);
    if (!document.hidden) this.read();
  }

  async read() {
    const started = performance.now();
    try {
      const stats = await (await get("memstats")).json();
      this.add(stats, started);
      this.onReading(this.history, stats);
    } catch (error) {
      this.addGap();
      this.onError(error);
    }
    clearTimeout(this.timer);
    if (!document.hidden)
      this.timer = setTimeout(() => this.read(), Math.max(0, started + PERIOD_MS - performance.now()));
  }

  add(stats, at) {
    const isLate = this.last !== null && at - this.last.at > 3 * PERIOD_MS;
    if (isLate) this.addGap();
    this.push({
      time: Date.now() / 1000,
      heap: stats.HeapAlloc,
      rate: this.rateOf(stats, at),
      rss: stats.RSS,
      inuse: stats.HeapInuse,
      idle: stats.HeapIdle,
      released: stats.HeapReleased,
      limit: limitOf(stats),
      threads: stats.Threads,
    });
    this.last = { stats, at };
  }

  /** Bytes per second since the reading before; null for the first, and after a restart of the program. */
  rateOf(stats, at) {
    const before = this.last;
    if (before === null || stats.TotalAlloc < before.stats.TotalAlloc || at <= before.at) return null;
    return ((stats.TotalAlloc - before.stats.TotalAlloc) * 1000) / (at - before.at);
  }

  addGap() {
    if (this.history.heap.at(-1) === null || this.history.time.length === 0) return;
    this.push({ time: Date.now() / 1000 - 0.001 });
  }

  push(row) {
    for (const [name, column] of Object.entries(this.history)) {
      column.push(row[name] ?? null);
      if (column.length > KEPT) column.shift();
    }
  }
}

/** What the limit is compared with. */
export function limitedQuantity(stats) {
  return stats.Sys - stats.HeapReleased;
}

/** null: there is none. */
export function limitOf(stats) {
  return stats.MemoryLimit < NO_LIMIT ? stats.MemoryLimit : null;
}
