// SPDX-License-Identifier: MIT
//
// Puts the page together: statistics once a second above, the heap below, and a line that says so when the
// program does not answer.

import { Charts } from "./charts.js";
import { clock } from "./format.js";
import { HeapView } from "./heap_view.js";
import { MemstatsReader } from "./memstats.js";
import { NoToken, setToken } from "./server.js";
import { summarize } from "./summary.js";

const element = (id) => document.getElementById(id);

const charts = new Charts(element("charts"));
const heap = new HeapView();
let failingSince = null;

function showHistory() {
  charts.show(reader.history, Number(element("span").value));
}

function onReading(history, stats) {
  failingSince = null;
  element("error").hidden = true;
  element("token").hidden = true;
  element("words").textContent = summarize(stats, history.rate.at(-1));
  showHistory();
}

function onError(error) {
  failingSince ??= Date.now();
  element("token").hidden = !(error instanceof NoToken);
  element("error").hidden = false;
  const since = `The statistics cannot be read since ${clock(failingSince)}`;
  const text = `${since}: ${error.message}. Trying again every second.`;
  if (element("error").textContent !== text) element("error").textContent = text;
  showHistory();
}

const reader = new MemstatsReader({ onReading, onError });

element("span").addEventListener("change", showHistory);
element("token").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(element("token-text").value);
  reader.restart();
  heap.refresh();
});

reader.restart();
heap.refresh();
